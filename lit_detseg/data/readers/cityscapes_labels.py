"""Cityscapes' classes: the numbers in its files, and which of them are trained and evaluated.

Source: cityscapes-dataset.com, "class definitions"; the numbers as in cityscapesScripts'
`helpers/labels.py`.
"""

from typing import NamedTuple

from lit_detseg.structures import LabelMap

NO_TRAIN_ID = 255
GROUP = "group"  # "cargroup": cars that the annotators could not tell apart


class CityscapesLabel(NamedTuple):
    """One class."""

    name: str
    id: int  # in labelIds and instanceIds; below 0: never drawn
    train_id: int  # entry of the 19 classes of semantic segmentation, or NO_TRAIN_ID
    has_instances: bool
    is_ignored: bool  # in evaluation


def _void(name: str, number: int, has_instances: bool = False) -> CityscapesLabel:
    return CityscapesLabel(name, number, NO_TRAIN_ID, has_instances, True)


def _stuff(name: str, number: int, train_id: int) -> CityscapesLabel:
    return CityscapesLabel(name, number, train_id, False, False)


def _thing(name: str, number: int, train_id: int) -> CityscapesLabel:
    return CityscapesLabel(name, number, train_id, True, False)


LABELS = (
    _void("unlabeled", 0),
    _void("ego vehicle", 1),
    _void("rectification border", 2),
    _void("out of roi", 3),
    _void("static", 4),
    _void("dynamic", 5),
    _void("ground", 6),
    _stuff("road", 7, 0),
    _stuff("sidewalk", 8, 1),
    _void("parking", 9),
    _void("rail track", 10),
    _stuff("building", 11, 2),
    _stuff("wall", 12, 3),
    _stuff("fence", 13, 4),
    _void("guard rail", 14),
    _void("bridge", 15),
    _void("tunnel", 16),
    _stuff("pole", 17, 5),
    _void("polegroup", 18),
    _stuff("traffic light", 19, 6),
    _stuff("traffic sign", 20, 7),
    _stuff("vegetation", 21, 8),
    _stuff("terrain", 22, 9),
    _stuff("sky", 23, 10),
    _thing("person", 24, 11),
    _thing("rider", 25, 12),
    _thing("car", 26, 13),
    _thing("truck", 27, 14),
    _thing("bus", 28, 15),
    _void("caravan", 29, has_instances=True),
    _void("trailer", 30, has_instances=True),
    _thing("train", 31, 16),
    _thing("motorcycle", 32, 17),
    _thing("bicycle", 33, 18),
    CityscapesLabel("license plate", -1, -1, False, True),
)

BY_NAME = {label.name: label for label in LABELS}
BY_ID = {label.id: label for label in LABELS if label.id >= 0}
THINGS = tuple(label for label in LABELS if label.has_instances and not label.is_ignored)
SEMANTIC = tuple(label for label in LABELS if not label.is_ignored)

# Pixels that the evaluation of instances counts for nothing have one of these values in
# instanceIds. Single caravans and trailers have others (29000, ...): they are background to it.
VOID_IDS = tuple(label.id for label in BY_ID.values() if label.is_ignored)


def label_map(labels: tuple[CityscapesLabel, ...]) -> LabelMap:
    """`THINGS` or `SEMANTIC` as the classes of a shard set."""
    return LabelMap(tuple(label.name for label in labels), tuple(label.id for label in labels))

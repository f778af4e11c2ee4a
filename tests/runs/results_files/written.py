"""What tests of results files write: two images, on one rank or on two."""

import torch

from lit_detseg.structures import Detections, LabelMap
from tests.tiny_detection import make_target

SIZE = (64, 96)
LABEL_MAP = LabelMap(("person", "traffic light", "car"), (24, 19, 26))


def target_of(image_id, source_id=None):
    return make_target([], [])._replace(image_id=image_id, source_id=source_id, original_size=SIZE)


def detections_of(*rows, masks=None):
    """Rows of box, label, score."""
    boxes, labels, scores = zip(*rows, strict=True) if rows else ([], [], [])
    return Detections(
        torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(scores, dtype=torch.float32),
        masks,
    )


def write(kind, path, *parts, label_map=LABEL_MAP):
    """What each rank finds, one list of (detections, target) per rank, as one set of results."""
    writers = [kind(path, label_map, rank) for rank in range(len(parts))]
    writers[0].prepare()
    for writer in writers:
        writer.open()
    for writer, images in zip(writers, parts, strict=True):
        for found, target in images:
            writer.write(found, target)
        writer.close()
    return writers[0].publish(len(parts))

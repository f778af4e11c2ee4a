"""Cityscapes' scores of a results folder: what `lit-detseg evaluate cityscapes` prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.cli.progress import images_bar
from lit_detseg.data.readers.cityscapes import (
    LABEL_OF_ID,
    NOT_ANNOTATED,
    instances,
)
from lit_detseg.data.readers.cityscapes_labels import LABELS, THINGS
from lit_detseg.data.readers.cityscapes_pixels import read_instance_ids
from lit_detseg.data.readers.pixel_maps import Annotated
from lit_detseg.errors import UserError
from lit_detseg.metrics.cityscapes_matching import (
    VOID,
    cityscapes_average_precisions,
    match_cityscapes,
)
from lit_detseg.metrics.coco_accumulation import mean_of_defined
from lit_detseg.metrics.pairs import NOTHING_FOUND, NOTHING_TRUE, Truth, concatenate
from lit_detseg.metrics.results_files.cityscapes import prediction_files, read_predictions
from lit_detseg.metrics.run_lengths import mask_areas

END = "_gtFine_instanceIds.png"


def cityscapes_scores(annotations: Path, results: Path) -> dict[str, Any]:
    """`AP`, `AP50` and `per_class`, equal to cityscapesScripts'; NaN where not defined.

    One image after the other is read and judged.

    Args:
        annotations: gtFine, or the folder of a split in it. Of several splits those count of
            which there are results.
        results: folder with a text file for each of their images, and the masks.

    Raises:
        UserError: naming the file, and the line, when something cannot be read or is missing.
    """
    truths = _annotated_images(annotations)
    files = prediction_files(results, truths)
    truths = _of_evaluated_splits(truths, files, annotations, results)
    labels = {label.id: LABEL_OF_ID.get(label.id) for label in LABELS}
    judged = [match_cityscapes(NOTHING_FOUND, NOTHING_TRUE)]
    with images_bar("Scoring") as progress:
        for number, (name, path) in enumerate(truths.items()):
            annotated = _annotated(path)
            size = (annotated.size[0] or 0, annotated.size[1] or 0)
            found = read_predictions(files[name], results, labels, size, number)
            judged.append(match_cityscapes(found, _truth(annotated, number)))
            if progress is not None:
                progress(number + 1, len(truths))
    matches, sought = map(concatenate, zip(*judged, strict=True))
    scores = cityscapes_average_precisions(matches, sought, len(THINGS))
    return {
        "AP": mean_of_defined(scores),
        "AP50": mean_of_defined(scores[:, 0]),
        "per_class": {
            label.name: {"AP": float(row.mean()), "AP50": float(row[0])}
            for label, row in zip(THINGS, scores, strict=True)
        },
    }


def _annotated_images(folder: Path) -> dict[str, Path]:
    """The annotation file of each image, sorted."""
    paths = sorted(folder.rglob(f"*{END}"))
    if not paths:
        raise UserError(f"{folder} holds no file *{END}. Give gtFine, or gtFine/<split>.")
    return {path.name.removesuffix(END): path for path in paths}


def _of_evaluated_splits(
    truths: dict[str, Path], files: dict[str, Path], annotations: Path, results: Path
) -> dict[str, Path]:
    """The images of the splits of which there are results; each of them must have some."""
    splits = {path.parent.parent for name, path in truths.items() if name in files}
    if not splits:
        raise UserError(
            f"{results} holds no text file of any of the {len(truths)} images in {annotations}, "
            f"such as {next(iter(truths))}_pred.txt."
        )
    if any(split.name == NOT_ANNOTATED for split in splits):
        raise UserError(
            "The annotations of Cityscapes' test images are kept by the benchmark's server: these "
            "results can be scored there alone."
        )
    evaluated = {name: path for name, path in truths.items() if path.parent.parent in splits}
    if missing := [name for name in evaluated if name not in files]:
        raise UserError(
            f"{results} has no text file of {_listed(missing)}. An image in which nothing was "
            "found has an empty one."
        )
    return evaluated


def _annotated(path: Path) -> Annotated:
    try:
        ids = read_instance_ids(path, str(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    if ids.faults:
        raise UserError(str(ids.faults[0]))
    return instances(ids)


def _truth(annotated: Annotated, image: int) -> Truth:
    """Objects as rows; last, the pixels that count for nothing."""
    void = [] if annotated.void is None else [annotated.void]
    masks = np.empty(len(annotated.objects) + len(void), dtype=object)
    masks[:] = [*(item.mask for item in annotated.objects), *void]
    return Truth(
        image=np.full(len(masks), image, dtype=np.int64),
        label=np.array([*(o.label for o in annotated.objects), *(VOID for _ in void)], np.int64),
        shape=masks,
        area=mask_areas(masks),
        is_crowd=np.array([*(o.is_crowd for o in annotated.objects), *(False for _ in void)], bool),
        is_difficult=np.zeros(len(masks), dtype=bool),
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more of the split"

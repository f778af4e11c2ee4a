"""What our average precisions share: images keyed by id, judged at once, exchanged once."""

from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_detseg.metrics.detection_metric import DetectionMetric
from lit_detseg.metrics.gathering import gather_arrays, is_distributed
from lit_detseg.metrics.pairs import (
    NOTHING_FOUND,
    NOTHING_TRUE,
    Found,
    Matches,
    Rows,
    Sought,
    Truth,
    concatenate,
    share_of_chunk,
    take,
)
from lit_detseg.structures import BoxTarget, Detections, UserError


class JudgedImages(NamedTuple):
    """Some images and what became of the detections and objects in them."""

    ids: np.ndarray  # (I,) str
    matches: Matches  # image: 0 .. I - 1
    sought: Sought


class KeyedMetric(DetectionMetric):
    """A score computed from judged detections.

    Images are matched where they are, some at a time, as they arrive; what is kept of them (at most
    30 bytes per detection, 40 with masks) lies on the CPU, wherever the module is moved, and is in
    no checkpoint. `compute` exchanges all of it in two collectives, whatever the number of images
    and however unevenly the ranks have seen them. An image seen twice, on one rank or on two,
    counts once, as it was first seen on the lowest rank. Equal scores are ranked by image id.

    Attributes:
        num_images: different images over all ranks, as of the last `compute`.
    """

    full_state_update = False
    num_images: int | None = None
    # Tables without a row, whose shapes are of the kind that this metric compares.
    _nothing_found = NOTHING_FOUND
    _nothing_true = NOTHING_TRUE

    def __init__(self) -> None:
        super().__init__()
        self._forget()

    def update(self, detections: list[Detections], targets: list[BoxTarget]) -> None:
        """Take in some images.

        Args:
            detections: what was found, boxes XYXY in pixels of the original image, any device.
            targets: `original_boxes`, `areas`, `is_crowd`, `is_difficult` and `image_id` are read.

        Raises:
            UserError: when a box or score is not finite, or a label is not in the label map.
        """
        for found, target in zip(detections, targets, strict=True):
            if target.image_id in self._seen:
                continue
            self._pending[target.image_id] = self._checked_rows(found, target)
            self._seen.add(target.image_id)
            self._filled += float(share_of_chunk(len(found.boxes), len(target.original_boxes)))
            if self._filled >= 1:
                self._judge_pending()

    def compute(self) -> dict[str, Tensor]:
        """Scalars, float64, by name; the same on every rank. NaN: not defined here."""
        self._judge_pending()
        own = _merged(self._judged)
        judged = _merged(_from_all_ranks(own, self.process_group)) if is_distributed() else own
        self.num_images = len(judged.ids)
        return self._scores_of(judged)

    def forward(self, detections: list[Detections], targets: list[BoxTarget]) -> dict[str, Tensor]:
        """Take in some images, and return the scores of these images alone, on this rank."""
        self.update(detections, targets)
        batch = {
            target.image_id: self._checked_rows(found, target)
            for found, target in zip(detections, targets, strict=True)
        }
        return self._scores_of(_merged([self._judged_images(batch)]))

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self._forget()

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `compute` gathers by itself and leaves what this rank holds as it is."""

    @abstractmethod
    def _judge(self, found: Found, truth: Truth) -> tuple[Matches, Sought]:
        """What becomes of the detections of some images."""

    @abstractmethod
    def _scores(
        self, matches: Matches, sought: Sought, class_names: Sequence[str]
    ) -> tuple[dict[str, float], list[float]]:
        """The summary by key and the AP of each class, from all images, numbered by sorted id."""

    def _scores_of(self, judged: JudgedImages) -> dict[str, Tensor]:
        names = self.class_names
        if names is None:
            labels = np.append(judged.matches.label, judged.sought.label)
            names = [str(label) for label in range(labels.max(initial=-1) + 1)]
        summary, of_classes = self._scores(judged.matches, judged.sought, names)
        results = summary | dict(zip(class_keys(names, summary), of_classes, strict=True))
        return {key: torch.tensor(value, dtype=torch.float64) for key, value in results.items()}

    def _forget(self) -> None:
        self._seen: set[str] = set()
        self._pending: dict[str, tuple[Found, Truth]] = {}
        self._filled = 0.0  # of a chunk
        self._judged: list[JudgedImages] = []
        self.num_images = None

    def _judge_pending(self) -> None:
        self._judged.append(self._judged_images(self._pending))
        self._pending, self._filled = {}, 0.0

    def _judged_images(self, images: dict[str, tuple[Found, Truth]]) -> JudgedImages:
        numbered = list(enumerate(images.values()))
        found = [part._replace(image=part.image + number) for number, (part, _) in numbered]
        truth = [part._replace(image=part.image + number) for number, (_, part) in numbered]
        matches, sought = self._judge(
            concatenate([self._nothing_found, *found]), concatenate([self._nothing_true, *truth])
        )
        return JudgedImages(np.array(list(images), dtype=np.str_), matches, sought)

    def _checked_rows(self, found: Detections, target: BoxTarget) -> tuple[Found, Truth]:
        rows = _found_rows(found), _truth_rows(target)
        if not (np.isfinite(rows[0].shape).all() and np.isfinite(rows[0].score).all()):
            raise UserError(
                f"A detection in image {target.image_id} has a box or score that is not finite: "
                "the model has diverged. Continue from an earlier checkpoint with a lower "
                "learning rate."
            )
        self._check_labels(target.image_id, *rows)
        return rows

    def _check_labels(self, image_id: str, found: Found, truth: Truth) -> None:
        if self.class_names is None:
            return
        for what, labels in (("a detection", found.label), ("an object", truth.label)):
            wrong = labels[(labels < 0) | (labels >= len(self.class_names))]
            if len(wrong):
                raise UserError(
                    f"Image {image_id} has {what} of class {wrong[0]}, but the label map has "
                    f"{len(self.class_names)} classes, 0 to {len(self.class_names) - 1}. "
                    "Check the model's num_classes against the shards' label map."
                )


def class_keys(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """`map_<name>` of each class; `map_<name>_class` where a summary has that key.

    >>> class_keys(["cat", "small"], taken=["map", "map_small"])
    ['map_cat', 'map_small_class']
    """
    return [f"map_{name}_class" if f"map_{name}" in taken else f"map_{name}" for name in names]


def _found_rows(found: Detections) -> Found:
    """Arrays on the CPU, the image numbered 0."""
    boxes = _xywh(found.boxes)
    return Found(
        image=np.zeros(len(boxes), dtype=np.int64),
        label=_array(found.labels, torch.int64),
        score=_array(found.scores, torch.float64),
        shape=boxes,
        area=boxes[:, 2] * boxes[:, 3],
    )


def _truth_rows(target: BoxTarget) -> Truth:
    """Arrays on the CPU, the image numbered 0."""
    boxes = _xywh(target.original_boxes)
    return Truth(
        image=np.zeros(len(boxes), dtype=np.int64),
        label=_array(target.labels, torch.int64),
        shape=boxes,
        area=_array(target.areas, torch.float64),
        is_crowd=_array(target.is_crowd, torch.bool),
        is_difficult=_array(target.is_difficult, torch.bool),
    )


def _array(tensor: Tensor, dtype: torch.dtype) -> np.ndarray:
    # A copy: the caller may reuse the tensor's memory before we match.
    return tensor.detach().to(device="cpu", dtype=dtype, copy=True).numpy()


def _xywh(boxes: Tensor) -> np.ndarray:
    corners = _array(boxes, torch.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _from_all_ranks(own: JudgedImages, group: Any) -> list[JudgedImages]:
    """What every rank holds, in the order of the ranks."""
    matches = {f"matches.{name}": column for name, column in own.matches._asdict().items()}
    sought = {f"sought.{name}": column for name, column in own.sought._asdict().items()}
    return [
        JudgedImages(
            rank["ids"],
            Matches(*(rank[name] for name in matches)),
            Sought(*(rank[name] for name in sought)),
        )
        for rank in gather_arrays({"ids": own.ids, **matches, **sought}, group)
    ]


def _merged(parts: Sequence[JudgedImages]) -> JudgedImages:
    """All images in the order of their ids; of those that occur twice, the first one."""
    all_ids = np.concatenate([part.ids for part in parts])
    ids, first, number = np.unique(all_ids, return_index=True, return_inverse=True)
    stays = np.zeros(len(all_ids), dtype=bool)
    stays[first] = True
    starts = np.cumsum([0, *(len(part.ids) for part in parts)])
    return JudgedImages(
        ids,
        _renumbered([part.matches for part in parts], starts, stays, number),
        _renumbered([part.sought for part in parts], starts, stays, number),
    )


def _renumbered(
    tables: Sequence[Rows], starts: np.ndarray, stays: np.ndarray, number: np.ndarray
) -> Rows:
    """One table of the images that stay, with their new numbers."""
    shifted = [
        table._replace(image=table.image + start)
        for table, start in zip(tables, starts, strict=False)
    ]
    merged = concatenate(shifted)
    merged = take(merged, stays[merged.image])
    return merged._replace(image=number[merged.image].astype(np.int32))

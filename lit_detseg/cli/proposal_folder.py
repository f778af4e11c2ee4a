"""What a network proposes, from all ranks into one folder beside the shards."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from lit_detseg.data.packing.work_folder import WorkFolder, work_folder
from lit_detseg.data.proposals.store import CONTENTS, INDEX_FILE, proposals_folder
from lit_detseg.data.proposals.writer import publish_proposals
from lit_detseg.data.shards import ShardReader
from lit_detseg.errors import UserError
from lit_detseg.structures import DetectionBatch, Detections

BOX_BYTES = 16  # four float32


class StoreProposals(Callback):
    """Write what `predict` finds as proposals of a shard set.

    Each rank writes a file of its own as it goes; at the end rank zero puts the boxes of all images
    into the order of the shards. Nothing is seen under the name before everything is there.

    Args:
        name: to store the proposals under.
        method: what makes them, for the index.
        overwrite: whether older ones of that name are replaced.

    Attributes:
        shards: folder of the set that is being predicted on.
        options: of the method, for the index.
    """

    def __init__(self, name: str, method: str, overwrite: bool = False) -> None:
        self.name = name
        self.method = method
        self.overwrite = overwrite
        self.shards = Path()
        self.options: dict[str, Any] = {}
        self._open = contextlib.ExitStack()
        self._folder: WorkFolder | None = None
        self._counts: dict[str, int] = {}  # of the boxes of this rank's images, in their order

    def on_predict_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Claim the folder, for all ranks."""
        place = proposals_folder(self.shards, self.name)
        self._folder = WorkFolder(place.absolute(), INDEX_FILE, CONTENTS)
        self._counts = {}

        def claim() -> None:
            self._open.enter_context(work_folder(place, INDEX_FILE, self.overwrite, CONTENTS))

        _on_rank_zero(trainer, claim)
        path = _boxes_file(self._folder, trainer.global_rank)
        self._file = self._open.enter_context(path.open("wb"))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: list[Detections],
        batch: DetectionBatch,
        batch_index: int,
        dataloader_index: int = 0,
    ) -> None:
        """Write the boxes of some images, which are in pixels of the original."""
        for found, target in zip(outputs, batch.targets, strict=True):
            self._file.write(found.boxes.to(torch.float32).numpy().tobytes())
            self._counts[target.image_id] = len(found.boxes)

    def on_predict_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Put the files of all ranks together."""
        folder = self._folder
        assert folder is not None, "predict has not started"
        self._file.close()
        path = _counts_file(folder, trainer.global_rank)
        np.savez(path, ids=list(self._counts), counts=list(self._counts.values()))
        trainer.strategy.barrier("proposals of all ranks")
        _on_rank_zero(trainer, lambda: self._publish(folder, trainer.world_size))
        self._open.close()

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        """Let go of the folder; what is in it is written anew by the next attempt."""
        with contextlib.suppress(BaseException):
            self._open.__exit__(type(exception), exception, exception.__traceback__)

    def _publish(self, folder: WorkFolder, world_size: int) -> None:
        boxes = _in_stored_order(folder, self.shards, world_size)
        made_with = {"torch": torch.__version__}
        publish_proposals(folder, self.shards, boxes, self.method, self.options, made_with)


def _in_stored_order(folder: WorkFolder, shards: Path, world_size: int) -> Iterator[np.ndarray]:
    """The boxes of each image of a set, (P, 4) float32."""
    places: dict[str, tuple[int, int, int]] = {}
    for rank in range(world_size):
        with np.load(_counts_file(folder, rank)) as stored:
            ends = np.cumsum(stored["counts"], dtype=np.int64)
            columns = stored["ids"], ends, stored["counts"]
            rows = zip(*(column.tolist() for column in columns), strict=True)
            places |= {image_id: (rank, end - count, count) for image_id, end, count in rows}
    with contextlib.ExitStack() as files:
        opened = [
            files.enter_context(_boxes_file(folder, rank).open("rb")) for rank in range(world_size)
        ]
        for image_id in ShardReader(shards).keys.tolist():
            if image_id not in places:
                raise UserError(
                    f"Nothing was proposed for image {image_id} of {shards}: not all images were "
                    "looked at. Leave trainer.limit_predict_batches and fast_dev_run out."
                )
            rank, start, count = places[image_id]
            opened[rank].seek(BOX_BYTES * start)
            data = opened[rank].read(BOX_BYTES * count)
            yield np.frombuffer(data, dtype=np.float32).reshape(-1, 4)


def _boxes_file(folder: WorkFolder, rank: int) -> Path:
    """Boxes of a rank's images, one after the other."""
    return folder.notes / f"rank-{rank}.boxes"


def _counts_file(folder: WorkFolder, rank: int) -> Path:
    """Which images those are, and how many boxes each has."""
    return folder.notes / f"rank-{rank}.npz"


def _on_rank_zero(trainer: Trainer, work: Callable[[], None]) -> None:
    """Do something on rank zero; when it is a user's mistake, all ranks raise it.

    Otherwise the others would wait for a rank that is gone.
    """
    message = None
    if trainer.is_global_zero:
        try:
            work()
        except UserError as error:
            message = str(error)
    message = trainer.strategy.broadcast(message)
    if message is not None:
        raise UserError(message)

"""Write what an evaluation finds as the servers of the data sets want it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lit_detseg.runs.results_files.cityscapes import CityscapesResults
from lit_detseg.runs.results_files.coco import CocoResults
from lit_detseg.runs.results_files.voc import VocResults
from lit_detseg.runs.results_files.writer import ResultsWriter
from lit_detseg.runs.settings import ResultsForm
from lit_detseg.structures import DetectionBatch, Detections, UserError

WRITERS: dict[ResultsForm, type[ResultsWriter]] = {
    "coco": CocoResults,
    "voc": VocResults,
    "cityscapes": CityscapesResults,
}


class ResultsFile(Callback):
    """Write detections in original pixels as they come, from all ranks into one place.

    In validation and test they are taken from `module.found`, where `DetectionModule` leaves them;
    in prediction they are what `predict_step` returns. The results appear when the evaluation has
    ended well, in the place of earlier ones.

    Args:
        path: the file (COCO) or folder (VOC, Cityscapes) to write.
        form: see `lit_detseg.runs.results_files`.
    """

    def __init__(self, path: Path, form: ResultsForm = "coco") -> None:
        self.path = path
        self.form = form
        self._writer: ResultsWriter | None = None

    @classmethod
    def in_folder(cls, folder: Path, form: ResultsForm) -> "ResultsFile":
        """The results in a folder, under the usual name of their form."""
        return cls(folder / WRITERS[form].file_name, form)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin."""
        self._begin(trainer, module)

    def on_test_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin."""
        self._begin(trainer, module)

    def on_predict_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin."""
        self._begin(trainer, module)

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Write the batch's detections."""
        self._write(_found(module), batch)

    def on_test_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Write the batch's detections."""
        self._write(_found(module), batch)

    def on_predict_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Write the batch's detections."""
        self._write(outputs, batch)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Bring the ranks' parts together."""
        self._end(trainer)

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Bring the ranks' parts together."""
        self._end(trainer)

    def on_predict_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Bring the ranks' parts together."""
        self._end(trainer)

    def _begin(self, trainer: Trainer, module: LightningModule) -> None:
        label_map = getattr(module, "label_map", None)
        writer = WRITERS[self.form](self.path, label_map, trainer.global_rank)
        with self._explained():
            if trainer.is_global_zero:
                writer.prepare()
            trainer.strategy.barrier()
            writer.open()
        self._writer = writer

    def _write(self, found: Sequence[Detections], batch: DetectionBatch) -> None:
        assert self._writer is not None, "a batch before the start"
        with self._explained():
            for one, target in zip(found, batch.targets, strict=True):
                self._writer.write(one, target)

    def _end(self, trainer: Trainer) -> None:
        assert self._writer is not None, "an end without a start"
        with self._explained():
            self._writer.close()
            trainer.strategy.barrier()
            if trainer.is_global_zero:
                counts = self._writer.publish(trainer.world_size)
                rank_zero_info(
                    f"{counts['detections']} detections in {counts['images']} images are in "
                    f"{self.path}."
                )
        self._writer = None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"The results cannot be written to {self.path} ({error.strerror}: "
                f"{error.filename}). Make room, or give a --run.dir that can be written."
            ) from error


def _found(module: LightningModule) -> Sequence[Detections]:
    found = getattr(module, "found", None)
    if found is None:
        raise UserError(
            f"{type(module).__name__} does not say what it finds in validation and test, so that "
            "no results can be written: `found` is to be a list of Detections in pixels of the "
            "original images. Write them with `lit-detseg predict`."
        )
    return found

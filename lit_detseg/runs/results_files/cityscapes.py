"""Cityscapes' results of instances, as `evalInstanceLevelSemanticLabeling` reads them.

For each image `<image>_pred.txt`, with lines `masks/<mask>.png labelID score`; for each detection a
black and white PNG of the size of the image.
"""

from pathlib import Path

from lit_detseg.metrics.instance_masks import found_pixels
from lit_detseg.runs.results_files.writer import ResultsWriter, image_name, named_classes
from lit_detseg.structures import BoxTarget, Detections, LabelMap, UserError

MASKS = "masks"


class CityscapesResults(ResultsWriter):
    """A folder of text files and masks; an image without detections has an empty text file.

    Raises:
        UserError: when the label map does not know the numbers of the classes, or a detection has
            no mask.
    """

    file_name = "cityscapes"

    def __init__(self, path: Path, label_map: LabelMap | None, rank: int = 0) -> None:
        super().__init__(path, label_map, rank)
        numbers = named_classes(label_map).source_ids
        if numbers is None:
            raise UserError(
                "The shards' label map has no source_ids, the numbers that Cityscapes' results "
                "call classes by. Pack the set with `lit-detseg pack cityscapes`, or write "
                "--run.results=coco."
            )
        self._class_numbers = numbers

    def prepare(self) -> None:
        """Make the folder into which all ranks write: each image has files of its own."""
        super().prepare()
        (self.whole / MASKS).mkdir(parents=True)

    def _write(self, found: Detections, target: BoxTarget) -> None:
        from PIL import Image

        name = image_name(target)
        masks = found_pixels(found, target)
        rows = zip(masks, found.labels.tolist(), found.scores.tolist(), strict=True)
        lines = []
        for place, (mask, label, score) in enumerate(rows):
            file = f"{MASKS}/{name}_{place}.png"
            Image.fromarray(mask).save(self.whole / file)
            lines.append(f"{file} {self._class_numbers[label]} {score}\n")
        (self.whole / f"{name}_pred.txt").write_text("".join(lines), encoding="utf-8")

    def _close(self) -> None:
        """Nothing is held back."""

    def _assemble(self, parts: list[Path]) -> None:
        """Nothing to do: the images are complete."""

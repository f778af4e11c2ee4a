"""A detector small enough to train in milliseconds, written as a user of the package would."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from lit_detseg.models.detector import Detector
from lit_detseg.structures import BoxTarget, Detections, Images


class ToyDetector(Detector):
    """One box per image: its mean colour decides on class and place."""

    def __init__(self, num_classes: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Dropout(dropout))
        self.classes = nn.Linear(8, num_classes)
        self.box = nn.Linear(8, 4)

    def _answers(self, images: Images) -> tuple[Tensor, Tensor]:
        features = self.trunk(images.pixels.float() / 255).mean((2, 3))
        return self.classes(features), self.box(features).sigmoid()

    def compute_losses(self, images: Images, targets: list[BoxTarget]) -> dict[str, Tensor]:
        logits, boxes = self._answers(images)
        size = images.sizes.flip(1).repeat(1, 2)
        classification, regression = logits.sum() * 0, boxes.sum() * 0
        for i, target in enumerate(targets):
            if len(target.labels):
                wanted = F.one_hot(target.labels, self.num_classes).float().amax(0)
                classification += F.binary_cross_entropy_with_logits(logits[i], wanted)
                regression += F.l1_loss(boxes[i], target.boxes[0] / size[i])
        count = max(len(targets), 1)
        return {"classification": classification / count, "box_regression": regression / count}

    def detect(self, images: Images) -> list[Detections]:
        logits, boxes = self._answers(images)
        size = images.sizes.flip(1).repeat(1, 2)
        scores, labels = logits.sigmoid().max(1)
        corners = torch.cat(
            [boxes[:, :2].minimum(boxes[:, 2:]), boxes[:, :2].maximum(boxes[:, 2:])], 1
        )
        return [
            Detections(corners[i : i + 1] * size[i], labels[i : i + 1], scores[i : i + 1])
            for i in range(len(size))
        ]


class StrictToyDetector(ToyDetector):
    """The same, with a constructor that insists on the number of classes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)


class ColourDetector(Detector):
    """Finds what `tests.coloured` draws: each thing has a colour, which says its class.

    It errs on purpose: masks are shifted a little, and some colours are scored low.
    """

    def __init__(self, num_classes: int, cells: int | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.cells = cells  # answer in cells of boxes, otherwise in pixels
        self.weight = nn.Parameter(torch.ones(1))

    def compute_losses(self, images: Images, targets: list[BoxTarget]) -> dict[str, Tensor]:
        return {"nothing": self.weight.square().sum()}

    def detect(self, images: Images) -> list[Detections]:
        pairs = zip(images.pixels, images.sizes.tolist(), strict=True)
        return [self._found(pixels, *size) for pixels, size in pairs]

    def _found(self, pixels: Tensor, height: int, width: int) -> Detections:
        levels = (pixels.float() / 127.5).round().long()
        codes = levels[0] * 9 + levels[1] * 3 + levels[2]
        codes[height:], codes[:, width:] = 0, 0
        seen = [code for code in range(1, 27) if (codes == code).sum() >= 12]
        masks = [self._shifted(codes == code, code) for code in seen]
        areas = [float(mask.sum()) for mask in masks]
        scores = [
            (code * 37 % 83 + area % 17) / 100 for code, area in zip(seen, areas, strict=True)
        ]
        order = sorted(range(len(seen)), key=lambda place: -scores[place])
        boxes = torch.tensor([_tight(masks[place]) for place in order]).reshape(-1, 4)
        found = Detections(
            boxes,
            torch.tensor([seen[place] % self.num_classes for place in order], dtype=torch.int64),
            torch.tensor([scores[place] for place in order]),
        )
        pixels_on = torch.stack([masks[place] for place in order] or [codes[:0] > 0])[: len(order)]
        if self.cells is None:
            return found._replace(masks=pixels_on)
        regions = list(boxes.split(1))
        cells = roi_align(pixels_on[:, None].float(), regions, self.cells, aligned=True)
        return found._replace(mask_cells=cells[:, 0])

    def _shifted(self, mask: Tensor, code: int) -> Tensor:
        shifted = mask.roll((code % 3, code % 2), dims=(0, 1))
        return shifted if shifted.any() else mask


def _tight(mask: Tensor) -> list[float]:
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return [float(edge) for edge in edges]

"""A detector small enough to train in milliseconds, written as a user of the package would."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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

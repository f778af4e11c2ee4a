"""The negatives that the SVMs of R-CNN learn from, found by hard negative mining.

Source: R-CNN (arXiv:1311.2524, section 2.3), rcnn_train.m. A region is kept once, however many
classes have it as a negative.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class HardNegatives:
    """Features of negatives, and whose they are. On the CPU.

    Args:
        num_classes: without background.
        num_features: numbers in the features of a region.

    Attributes:
        keys: (N,) int64, one for each region, all different.
        of_class: (N, num_classes) bool.
        added: (num_classes,) int64, negatives that came since the last `settle`.
    """

    def __init__(self, num_classes: int, num_features: int) -> None:
        self.keys = torch.zeros(0, dtype=torch.int64)
        self.of_class = torch.zeros(0, num_classes, dtype=torch.bool)
        self.added = torch.zeros(num_classes, dtype=torch.int64)
        self._features = [torch.zeros(0, num_features)]  # joined only where they are asked for

    def add(
        self,
        features: Float[Tensor, "regions features"],
        keys: Int[Tensor, " regions"],
        of_class: Bool[Tensor, "regions classes"],
    ) -> None:
        """Take up regions as negatives of some classes, unless they are already."""
        known = torch.isin(keys, self.keys)
        if known.any():
            order = self.keys.argsort()
            rows = order[torch.searchsorted(self.keys[order], keys[known])]
            self.added += (of_class[known] & ~self.of_class[rows]).sum(dim=0)
            self.of_class[rows] |= of_class[known]
        fresh = ~known & of_class.any(dim=1)
        self.added += of_class[fresh].sum(dim=0)
        self.keys = torch.cat([self.keys, keys[fresh]])
        self.of_class = torch.cat([self.of_class, of_class[fresh]])
        self._features.append(features[fresh])

    @property
    def features(self) -> Float[Tensor, "kept features"]:
        """Of all regions."""
        self._features = [torch.cat(self._features)]
        return self._features[0]

    def of(self, label: int) -> Float[Tensor, "negatives features"]:
        """Features of a class's negatives, in the order in which they came."""
        return self.features[self.of_class[:, label]]

    def settle(self, label: int, easy: Bool[Tensor, " negatives"]) -> None:
        """Let go of some of a class's negatives, in the order of `of`, and count anew."""
        rows = self.of_class[:, label].nonzero().squeeze(1)
        self.of_class[rows[easy], label] = False
        self.added[label] = 0

    def tidy(self) -> None:
        """Forget regions that are no class's any more."""
        kept = self.of_class.any(dim=1)
        self._features = [self.features[kept]]
        self.keys, self.of_class = self.keys[kept], self.of_class[kept]

    def state_dict(self) -> dict[str, Tensor]:
        """Everything, as tensors."""
        names = ("features", "keys", "of_class", "added")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where another was."""
        self._features = [state["features"]]
        self.keys, self.of_class, self.added = state["keys"], state["of_class"], state["added"]

    def __len__(self) -> int:
        return len(self.keys)

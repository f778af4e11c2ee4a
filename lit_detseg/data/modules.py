"""One data module per data set: how large its images are trained on, and nothing else."""

from lit_detseg.data.shard_module import ShardDataModule
from lit_detseg.data.transforms import RandomHorizontalFlip, ResizeShortestSide, Transform


class CocoDataModule(ShardDataModule):
    """COCO: shorter side 800 pixels, longer side at most 1333; flipped half of the time.

    The sizes are those of Feature Pyramid Networks (arXiv:1612.03144) and what followed it.
    """

    def default_train_transforms(self) -> list[Transform]:
        """Resize, flip."""
        return [ResizeShortestSide(800, 1333), RandomHorizontalFlip(0.5)]

    def default_eval_transforms(self) -> list[Transform]:
        """Resize."""
        return [ResizeShortestSide(800, 1333)]


class VOCDataModule(ShardDataModule):
    """Pascal VOC: shorter side 600 pixels, longer side at most 1000; flipped half of the time.

    The sizes are those of Fast R-CNN (arXiv:1504.08083, section 5.2) and Faster R-CNN.
    """

    def default_train_transforms(self) -> list[Transform]:
        """Resize, flip."""
        return [ResizeShortestSide(600, 1000), RandomHorizontalFlip(0.5)]

    def default_eval_transforms(self) -> list[Transform]:
        """Resize."""
        return [ResizeShortestSide(600, 1000)]


class CityscapesDataModule(ShardDataModule):
    """Cityscapes' 8 classes of things: shorter side 800 to 1024 pixels, flipped half of the time.

    Evaluated at the full 1024 x 2048 (Mask R-CNN, arXiv:1703.06870, appendix A).
    """

    def default_train_transforms(self) -> list[Transform]:
        """Resize, flip."""
        return [ResizeShortestSide(list(range(800, 1025)), 2048), RandomHorizontalFlip(0.5)]

    def default_eval_transforms(self) -> list[Transform]:
        """Resize."""
        return [ResizeShortestSide(1024, 2048)]


class ShapesDataModule(ShardDataModule):
    """Drawn shapes: small images, taken as they are."""

"""R-CNN's second stage: pool5 features of all regions of the training set, computed once."""

import shutil
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info

from lit_detseg.modules.rcnn import RegionModule
from lit_detseg.modules.rcnn_feature_cache import FeatureCache, Precision
from lit_detseg.modules.rcnn_pass import ImageRegions, RegionPass
from lit_detseg.structures import UserError

GB = 1e9


class RegionFeatures(RegionPass):
    """Write the features of every object and every proposal into a folder for the later stages.

    One epoch (`max_epochs: 1`). Files that are there already are kept, so that a run that was
    stopped at any moment goes on where it was, with or without its checkpoint. All ranks write into
    the same folder, which every node has to see.

    Logs `train/regions`, the regions of this rank's images, and `train/written`, the images whose
    features were not there yet.

    Args:
        system: the detector: `RCNN(...)` or `SPPNet(...)` with the arguments of the other stages.
        cache: the folder.
        precision: of the stored features. The programs store float32; float16 halves the folder.
    """

    def __init__(self, system: RegionModule, cache: str, precision: Precision = "float16") -> None:
        super().__init__(system)
        self.folder = Path(cache)
        self.precision: Precision = precision
        self.written: FeatureCache | None = None

    def open_cache(self) -> None:
        """Begin the folder, say how large it will be, and refuse a disk that cannot hold it."""
        self.written = FeatureCache.create(self.folder, self.model, self.precision)
        self._announce(self.written)

    def look_at(self, images: list[ImageRegions], is_last_step: bool) -> dict[str, float]:
        """Write what is missing; after the last image, say that nothing is."""
        assert self.written is not None
        missing = [one for one in images if not self.written.holds(one.image_id, one.boxes)]
        for image in missing:
            self.written.write(image.image_id, image.boxes, image.pooled())
        if is_last_step:
            self._finish(self.written)
        return {"regions": sum(len(one.boxes) for one in images), "written": len(missing)}

    def _announce(self, cache: FeatureCache) -> None:
        count_proposals = getattr(self._data_module, "num_proposals", None)
        if count_proposals is None:
            rank_zero_info(f"Each region takes {cache.row_bytes:,} bytes in {self.folder}.")
            return
        regions = sum(count_proposals("train").values())
        needed = regions * cache.row_bytes
        there = sum(path.stat().st_size for path in self.folder.glob("*.npy"))
        free = shutil.disk_usage(self.folder).free
        rank_zero_info(
            f"{self.folder}: {regions:,} proposals of {cache.row_bytes:,} bytes, "
            f"{needed / GB:.1f} GB and the objects' own; {there / GB:.1f} GB are there, "
            f"{free / GB:.1f} GB are free."
        )
        if needed - there > free:
            raise UserError(
                f"The features of {regions:,} proposals take {needed / GB:.1f} GB, but "
                f"{self.folder} has room for {(free + there) / GB:.1f} GB. Give a `cache` on a "
                "larger disk, fewer proposals (data.max_proposals), or precision float16."
            )

    def _finish(self, cache: FeatureCache) -> None:
        self.trainer.strategy.barrier()
        count_images = getattr(self._data_module, "num_images", None)
        if count_images is not None:
            cache.require(count_images("train"))
        if self.trainer.is_global_zero:
            cache.finish()
        self.trainer.strategy.barrier()

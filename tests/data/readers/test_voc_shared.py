"""The VOC reader on three real photographs, annotated again with another tool."""

import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lit_detseg.data.readers.voc import VocReader
from tests.conftest import SHARED

ROOT = SHARED / "data/eval_fixtures/voc_masks_sample"


def read(task):
    reader = VocReader(ROOT, ["train"], task=task)
    samples, faults = zip(*(reader.read(rank) for rank in range(len(reader))), strict=True)
    assert list(faults) == [[], [], []]
    return samples, reader.label_map.names


def test_instances_cover_the_pixels_of_their_class():
    """Boxes and masks do not correspond in this set: it reads, without flags."""
    samples, names = read("instances")
    found = [[names[item.label] for item in sample.objects] for sample in samples]
    assert found == [
        ["person", "person", "bottle"],
        ["person", "person", "person", "chair", "person", "sofa"],
        ["bus", "bus", "car"],
    ]
    for sample in samples:
        classes = np.asarray(Image.open(ROOT / f"SegmentationClass/{sample.image_id}.png"))
        covered = np.zeros_like(classes)
        for item in sample.objects:
            covered[coco_mask.decode(item.mask) == 1] = item.label + 1
        if sample.void is not None:
            covered[coco_mask.decode(sample.void) == 1] = 255
        np.testing.assert_array_equal(covered, classes)


@pytest.mark.parametrize("rank", range(3))
def test_semantic_labels_are_the_palette_indices(rank):
    samples, names = read("semantic")
    sample = samples[rank]
    expected = np.asarray(Image.open(ROOT / f"SegmentationClass/{sample.image_id}.png"))
    np.testing.assert_array_equal(Image.open(io.BytesIO(sample.label_png)), expected)
    assert (names[0], len(names)) == ("background", 21)

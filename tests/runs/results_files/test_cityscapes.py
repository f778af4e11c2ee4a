"""Cityscapes' results, file by file."""

import numpy as np
import pytest
import torch
from PIL import Image

from lit_detseg.runs.results_files.cityscapes import CityscapesResults
from lit_detseg.structures import LabelMap, UserError
from tests.runs.results_files.written import SIZE, detections_of, target_of, write


def test_a_text_file_per_image_and_a_picture_per_detection(tmp_path):
    masks = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(0)) < 0.5
    masks[1] = False  # a detection without pixels stays one
    found = detections_of(([0, 0, 8, 8], 0, 0.5), ([0, 0, 9, 9], 2, 0.25), masks=masks)

    counts = write(
        CityscapesResults,
        tmp_path / "results",
        [(found, target_of("ulm_0_0"))],
        [(detections_of(), target_of("ulm_0_1"))],
    )

    assert counts == {"images": 2, "detections": 2}
    lines = (tmp_path / "results/ulm_0_0_pred.txt").read_text().splitlines()
    assert lines == ["masks/ulm_0_0_0.png 24 0.5", "masks/ulm_0_0_1.png 26 0.25"]
    assert (tmp_path / "results/ulm_0_1_pred.txt").read_text() == ""
    for line, mask in zip(lines, masks, strict=True):
        picture = Image.open(tmp_path / "results" / line.split()[0])
        grey = np.asarray(picture.convert("L"))  # as the script reads it
        np.testing.assert_array_equal(grey, mask.numpy() * 255)
    assert len(list((tmp_path / "results").rglob("*.*"))) == 4


def test_classes_without_numbers_and_detections_without_masks_are_refused(tmp_path):
    with pytest.raises(UserError, match="no source_ids.*--run.results=coco"):
        CityscapesResults(tmp_path / "results", LabelMap(("person",)))
    boxes = detections_of(([0, 0, 8, 8], 0, 0.5))
    with pytest.raises(UserError, match="image ulm_0_0 have no masks"):
        write(CityscapesResults, tmp_path / "results", [(boxes, target_of("ulm_0_0"))])

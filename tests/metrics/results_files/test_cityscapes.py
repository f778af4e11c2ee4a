"""Cityscapes' results: what is read, and what is complained about."""

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lit_detseg.errors import UserError
from lit_detseg.metrics.results_files.cityscapes import prediction_files, read_predictions

SIZE = (40, 60)
LABELS = {24: 0, 26: 1, 7: None}  # person, car, road


@pytest.fixture
def folder(tmp_path):
    """Two masks: a black and white one, and one of grey levels."""
    for name, level in (("a.png", 255), ("b.png", 1)):
        pixels = np.zeros(SIZE, np.uint8)
        pixels[5:15, 10:30] = level
        (tmp_path / "results/masks").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "results/masks" / name)
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "results/masks/empty.png")
    Image.fromarray(np.ones((9, 9), np.uint8)).save(tmp_path / "results/masks/small.png")
    (tmp_path / "results/masks/broken.png").write_bytes(b"\x89PNG")
    return tmp_path / "results"


def read(folder, text):
    (folder / "ulm_0_0_pred.txt").write_text(text)
    return read_predictions(folder / "ulm_0_0_pred.txt", folder, LABELS, SIZE, image=3)


def test_masks_classes_and_scores_are_read(folder):
    found = read(folder, "masks/a.png 26 0.5\nmasks/b.png 24.0 1e-3\n")
    assert found.image.tolist() == [3, 3]
    assert found.label.tolist() == [1, 0]
    assert found.score.tolist() == [0.5, 0.001]
    assert found.area.tolist() == [200, 200]
    for mask in found.shape:
        pixels = coco_mask.decode(mask)
        assert pixels[5:15, 10:30].all()
        assert pixels.sum() == 200


def test_what_is_not_evaluated_and_masks_without_pixels_are_left_out(folder):
    found = read(folder, "masks/a.png 7 0.5\nmasks/empty.png 26 0.5\nmasks/b.png 26 0.25")
    assert found.score.tolist() == [0.25]


def test_an_empty_file_is_an_image_without_predictions(folder):
    assert len(read(folder, "").score) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("masks/a.png 26", "it is not `relative/mask.png labelID score`"),
        ("masks/a.png 26 0.5 more", "it is not `relative/mask.png labelID score`"),
        ("masks/a.png car 0.5", "it is not `relative/mask.png labelID score`"),
        ("masks/a.png 26 nan", "it is not `relative/mask.png labelID score`"),
        ("masks/a.png inf 0.5", "it is not `relative/mask.png labelID score`"),
        ("", "it is not `relative/mask.png labelID score`"),
        ("masks/a.png 99 0.5", "99 is no labelID of Cityscapes"),
        ("/masks/a.png 26 0.5", "/masks/a.png is not a path relative"),
        ("../a.png 26 0.5", "../a.png lies outside of"),
        ("masks/c.png 26 0.5", "there is no file masks/c.png"),
        ("masks/broken.png 26 0.5", "masks/broken.png cannot be read"),
        ("masks/small.png 26 0.5", "masks/small.png has 9 x 9 pixels, its image 40 x 60"),
    ],
)
def test_a_bad_line_is_named(folder, line, message):
    with pytest.raises(UserError) as raised:
        read(folder, f"masks/a.png 26 0.5\n{line}\nmasks/b.png 26 0.5\n")
    assert f"ulm_0_0_pred.txt, line 2 ({line!r}): " in str(raised.value)
    assert message in str(raised.value)


def test_a_file_belongs_to_the_image_that_it_begins_with(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("ulm_0_0_pred", "deep/ulm_0_01", "bonn_0_0_pred"):
        (tmp_path / f"{name}.txt").write_text("")
    files = prediction_files(tmp_path, {"ulm_0_0", "ulm_0_01", "ulm_0_02"})
    assert files == {
        "ulm_0_0": tmp_path / "ulm_0_0_pred.txt",
        "ulm_0_01": tmp_path / "deep/ulm_0_01.txt",
    }


def test_two_files_of_an_image_and_no_folder_are_refused(tmp_path):
    for name in ("ulm_0_0_pred", "ulm_0_0_other"):
        (tmp_path / f"{name}.txt").write_text("")
    with pytest.raises(UserError, match="are both of image ulm_0_0. Remove one"):
        prediction_files(tmp_path, {"ulm_0_0"})
    with pytest.raises(UserError, match="nowhere is not a folder"):
        prediction_files(tmp_path / "nowhere", {"ulm_0_0"})

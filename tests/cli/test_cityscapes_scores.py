"""`lit-detseg evaluate cityscapes` as typed, on drawn scenes."""

import json

import numpy as np
import pytest
from PIL import Image

from lit_detseg.cli.evaluate import main
from lit_detseg.errors import UserError
from tests.data.readers.drawn_cityscapes import annotation_path, write_ids

CAR = 26


@pytest.fixture
def root(tmp_path):
    """Two images of val: a car that is found exactly, and one that is missed; one of train."""
    ids = np.full((40, 60), 7, np.uint16)
    ids[:20, :20] = 26000
    for name, split in (("ulm_0_0", "val"), ("ulm_0_1", "val"), ("bonn_0_0", "train")):
        write_ids(tmp_path, name, ids, split)
    results = tmp_path / "results"
    results.mkdir()
    Image.fromarray(ids == 26000).save(results / "car.png")
    (results / "ulm_0_0_pred.txt").write_text("car.png 26 0.5\n")
    (results / "ulm_0_1_pred.txt").write_text("")
    return tmp_path


def arguments(root, annotations="gtFine"):
    return ["cityscapes", "--annotations", f"{root / annotations}", "--results", f"{root}/results"]


@pytest.mark.parametrize("annotations", ["gtFine", "gtFine/val", "gtFine/val/ulm"])
def test_the_splits_of_which_there_are_results_are_scored(root, annotations, capsys):
    main([*arguments(root, annotations), "--json"])

    scores = json.loads(capsys.readouterr().out)
    # Precision 1 at a recall of 1/2: Cityscapes integrates half the way on either side.
    assert (scores["AP"], scores["AP50"]) == (0.5, 0.5)
    assert scores["per_class"]["car"] == {"AP": 0.5, "AP50": 0.5}
    assert scores["per_class"]["person"] == {"AP": None, "AP50": None}
    assert len(scores["per_class"]) == 8


def test_the_table(root, capsys):
    main(arguments(root))
    printed = capsys.readouterr().out
    assert "│ AP50 │ 0.500 │" in printed
    assert "│ car        │ 0.500 │ 0.500 │" in printed
    assert "│ person     │     - │     - │" in printed


def test_an_image_without_a_file_is_missing_and_not_empty(root):
    (root / "results/ulm_0_1_pred.txt").unlink()
    with pytest.raises(UserError, match="has no text file of ulm_0_1. An image in which nothing"):
        main(arguments(root))


def test_folders_that_do_not_belong_together_are_refused(root):
    with pytest.raises(UserError, match=r"results holds no file \*_gtFine_instanceIds.png"):
        main(arguments(root, "results"))
    with pytest.raises(UserError, match="no text file of any of the 1 images .* bonn_0_0_pred.txt"):
        main(arguments(root, "gtFine/train"))


def test_the_truth_of_test_images_is_not_there(root):
    (root / "gtFine/val").rename(root / "gtFine/test")
    with pytest.raises(UserError, match="kept by the benchmark's server"):
        main(arguments(root))


def test_an_annotation_that_cannot_be_read_is_named(root):
    annotation_path(root, "ulm_0_1", "instanceIds.png", "val").write_bytes(b"no picture")
    with pytest.raises(UserError, match="ulm_0_1_gtFine_instanceIds.png cannot be read"):
        main(arguments(root))
    write_ids(root, "ulm_0_1", np.full((40, 60), 99, np.uint16), "val")
    with pytest.raises(UserError, match="ulm_0_1_gtFine_instanceIds.png.*value 99 on 2400 pixels"):
        main(arguments(root))

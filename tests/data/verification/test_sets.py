"""Sets against each other, but for their images."""

from dataclasses import replace

import cv2
import numpy as np

from lit_detseg.data.packing.outcome import PixelClasses
from lit_detseg.data.verification.verify import verify
from lit_detseg.structures import LabelMap
from tests.data.verification.crafted import (
    CAT,
    DOG,
    HEIGHT,
    WIDTH,
    findings,
    sample,
    write_set,
)


def details(*folders):
    return [
        finding.detail for kept in verify(folders, 0).findings.kept.values() for finding in kept
    ]


def test_different_classes_are_told_with_the_difference(tmp_path):
    one = write_set(tmp_path / "one", [sample("a", 0, CAT, DOG)])
    labels = LabelMap(("cat", "cow"))
    other = write_set(tmp_path / "other", [sample("a", 1, CAT, DOG)], labels=labels)
    assert findings(one, other)[0] == ("different_classes", "", "", "")
    assert 'label 1 is "dog" in one and "cow" in the other' in details(one, other)[0]


def test_classes_that_only_other_sets_show_are_named(tmp_path):
    train = write_set(tmp_path / "train", [sample("a", 0, CAT, DOG)])
    val = write_set(tmp_path / "val", [sample("a", 1, CAT)])
    test = write_set(tmp_path / "test", [sample("a", 2)])
    assert findings(train, val, test) == [("classes_without_objects", "", "", "")] * 2
    assert details(train, val, test) == [
        "no object of 1 classes that other sets have: dog",
        "no object of 2 classes that other sets have: cat, dog",
    ]


def test_a_class_that_no_set_shows_is_no_finding(tmp_path):
    sets = [write_set(tmp_path / str(k), [sample("a", k, CAT)]) for k in range(2)]
    assert findings(*sets) == []


def test_pixels_of_a_class_count_as_its_presence(tmp_path):
    train = write_set(tmp_path / "train", [sample("a", 0, replace(CAT, label=1))])
    grey = np.ones((HEIGHT, WIDTH), np.uint8)
    pixels = PixelClasses(cv2.imencode(".png", grey)[1].tobytes(), {1: HEIGHT * WIDTH})
    val = write_set(tmp_path / "val", [sample("a", 1)._replace(pixels=pixels)])
    assert findings(train, val) == []

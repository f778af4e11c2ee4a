"""One image through all checks: classes of pixels, void, images stored as they are."""

import numpy as np
import pytest

from lit_detseg.data.images import EncodedImage, encode_png
from lit_detseg.data.packing.checks import Kind
from lit_detseg.data.packing.outcome import StoredSample, check_sample
from lit_detseg.data.records import Object, RawSample
from lit_detseg.structures import LabelMap
from tests.data.packing.test_label_png import grey

LABELS = LabelMap(("road", "sky"))
IMAGE = encode_png(np.zeros((2, 3, 3), np.uint8))
CAR = Object((0.0, 0.0, 2.0, 2.0), 1, 4.0)
VOID = {"size": [2, 3], "counts": [1, 2, 3]}


def check(**given):
    sample = RawSample("a", IMAGE, None, None, (CAR,), file_name="a.png", **given)
    return check_sample(sample, [], LABELS, clip=False)


def test_void_is_kept_and_the_classes_of_pixels_are_counted():
    png = grey([0, 0, 1], [255, 1, 1])

    outcome = check(void=VOID, label_png=png)

    assert outcome.faults == []
    assert outcome.record.void == VOID
    assert outcome.pixels == (png, {0: 2, 1: 3})
    assert outcome.image.data == IMAGE


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"void": {"size": [2, 3], "counts": [7]}}, Kind.MALFORMED_VOID),
        ({"label_png": grey([0, 1], [1, 1])}, Kind.WRONG_LABELS_SIZE),
        ({"label_png": grey([0, 1, 7], [1, 1, 7])}, Kind.UNKNOWN_PIXEL_CLASS),
        ({"label_png": b"broken"}, Kind.UNREADABLE_LABELS),
    ],
)
def test_an_image_whose_pixels_cannot_be_scored_is_left_out_whole(given, kind):
    outcome = check(**given)
    assert [fault.kind for fault in outcome.faults] == [kind]
    assert (outcome.image, outcome.pixels) == (None, None)
    assert outcome.objects_read == 1


def test_an_image_that_comes_from_shards_is_not_even_decoded():
    stored = EncodedImage(b"not an image", "jpg", 2, 3)
    sample = StoredSample("a", b"", 2, 3, (CAR,), stored=stored)

    outcome = check_sample(sample, [], LABELS, clip=False)

    assert outcome.image is stored
    assert (outcome.record.height, outcome.record.width) == (2, 3)

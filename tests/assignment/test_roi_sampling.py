"""Which regions the second stage learns from; `tests/models/test_roi_stage.py` tests the rest."""

import pytest
import torch

from lit_detseg.assignment.matching import Objects
from lit_detseg.assignment.roi_sampling import draw_rois

OBJECT = Objects(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([4]))
NONE = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
NEAR = [[5.0, 0, 15, 10]]  # IoU 50 / 150 with the object
FAR = [[x, 50.0, x + 10, 60] for x in (0.0, 20, 40, 60)]  # IoU 0
SEED = torch.tensor(7)


def draw(boxes, objects=OBJECT, num_samples=4, **settings):
    return draw_rois(
        torch.tensor(boxes),
        objects,
        SEED,
        num_samples=num_samples,
        positive_fraction=0.25,
        foreground_iou=0.5,
        background_iou=(0.1, 0.5),
        **settings,
    )


def test_background_that_runs_short_is_filled_from_below():
    assert draw(NEAR + FAR).labels.tolist() == [5, 0]
    filled = draw(NEAR + FAR, fill=True)
    assert filled.labels.tolist() == [5, 0, 0, 0]
    assert filled.boxes[:2].tolist() == [OBJECT.boxes[0].tolist(), NEAR[0]]
    assert all(box in FAR for box in filled.boxes[2:].tolist())
    assert filled.boxes[2].tolist() != filled.boxes[3].tolist()


def test_no_more_is_filled_in_than_there_is_room():
    plenty = [[5.0 - x / 100, 0, 15, 10] for x in range(9)]
    filled = draw(plenty + FAR, fill=True)
    assert filled.labels.tolist() == [5, 0, 0, 0]
    assert not any(box in FAR for box in filled.boxes.tolist())


def test_all_regions_are_taken_where_no_number_is_said():
    """Nine boxes on the object and itself: a quarter would be one of four."""
    everything = draw([[0.0, 0, 10, 10]] * 9 + NEAR + FAR, num_samples=None)
    assert sorted(everything.labels.tolist()) == [0] + [5] * 10
    assert len(draw(NEAR + FAR, num_samples=None, fill=True).boxes) == 6


@pytest.mark.parametrize("fill", [False, True])
def test_an_image_without_objects_teaches_background_if_filled(fill):
    samples = draw(NEAR + FAR, NONE, fill=fill)
    assert samples.labels.tolist() == ([0] * 4 if fill else [])
    assert samples.target_offsets.shape == (len(samples.boxes), 4)


def test_without_the_background_the_objects_are_left():
    samples = draw(NEAR + FAR, fill=True).on_objects()
    assert samples.labels.tolist() == [5]
    assert samples.objects.tolist() == [0]
    assert samples.boxes.tolist() == OBJECT.boxes.tolist()

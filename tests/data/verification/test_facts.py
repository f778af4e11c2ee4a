"""Counts of parts add up to those of the whole."""

from dataclasses import replace

import pytest

from lit_detseg.data.verification.facts import Facts
from tests.data.verification.crafted import ANIMALS, CAT, DOG


@pytest.mark.parametrize(
    ("area", "size", "side"),
    [
        pytest.param(0.5, "small", "0", id="below a pixel"),
        pytest.param(1.0, "small", "1", id="a pixel"),
        pytest.param(32.0**2 - 1, "small", "16", id="COCO's small"),
        pytest.param(32.0**2, "medium", "32", id="COCO's medium"),
        pytest.param(96.0**2 - 1, "medium", "64", id="still medium"),
        pytest.param(96.0**2, "large", "64", id="COCO's large"),
    ],
)
def test_sizes_are_cocos(area, size, side):
    facts = Facts()
    facts.count_objects([replace(CAT, area=area)])
    counted = facts.to_json(ANIMALS)
    assert [name for name, n in counted["object_sizes"].items() if n] == [size]
    assert counted["object_sides"] == {side: 1}


def test_parts_add_up():
    samples = [(40, 60, [CAT, DOG]), (40, 60, []), (10, 20, [DOG])]
    whole, sum_of_parts = Facts(), Facts()
    for height, width, objects in samples:
        part = Facts()
        for facts in (whole, part):
            facts.count_image(height, width)
            facts.count_objects(objects)
        sum_of_parts.add(part)
    assert sum_of_parts == whole
    counted = whole.to_json(ANIMALS)
    assert counted["heights"] == {"min": 10, "median": 40, "mean": 30, "max": 40}
    assert counted["image_sizes"][0] == {"height": 40, "width": 60, "images": 2}
    assert counted["empty_images"] == 1


def test_nothing_has_no_spread():
    counted = Facts().to_json(ANIMALS)
    assert counted["heights"] is None
    assert counted["objects"] == 0

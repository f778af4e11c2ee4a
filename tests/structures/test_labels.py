"""The label map: what it refuses, stores and tells apart."""

import pytest

from lit_detseg.structures import LabelMap, UserError


def test_a_map_survives_json_with_the_holes_in_its_ids():
    coco = LabelMap(("person", "bicycle", "stop sign"), (1, 2, 13))
    assert LabelMap.from_json(coco.to_json()) == coco


@pytest.mark.parametrize(
    ("names", "ids", "said"),
    [
        pytest.param(("cat", "dog", "cat"), None, "names cat twice", id="one name, two labels"),
        pytest.param(("cat", "dog"), (1,), "2 names but 1 source ids", id="an id is missing"),
    ],
)
def test_an_ambiguous_map_is_refused(names, ids, said):
    with pytest.raises(UserError, match=said):
        LabelMap(names, ids)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        pytest.param(("cat", "dog"), None, id="the same names: no difference"),
        pytest.param(("dog", "cat"), 'label 0 is "cat" in one and "dog"', id="another order"),
        pytest.param(("cat", "dog", "cow"), "2 classes against 3; only in one: cow", id="one more"),
    ],
)
def test_the_difference_is_said_in_words(other, said):
    difference = LabelMap(("cat", "dog")).difference(LabelMap(other))
    assert difference is None if said is None else said in difference

"""Which label a class name or number means."""

import json

import pytest

from lit_detseg.data.foreign_tars.classes import Classes
from lit_detseg.errors import UserError


def test_names_in_order_are_numbers_from_zero():
    classes = Classes.from_names(["dog", "cat"])
    assert classes.labels == {"dog": 0, "cat": 1, 0: 0, 1: 1}
    with pytest.raises(UserError, match="names cat twice"):
        Classes.from_names(["cat", "cat"])


def test_names_found_are_sorted():
    assert Classes.from_annotations(["dog", "cat", "dog"]).label_map.names == ("cat", "dog")
    assert len(Classes.from_annotations([]).label_map) == 0


@pytest.mark.parametrize("wrapped", [True, False])
def test_categories_are_ordered_by_id(tmp_path, wrapped):
    rows = [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}]
    (tmp_path / "c.json").write_text(json.dumps({"categories": rows} if wrapped else rows))
    classes = Classes.from_categories(tmp_path / "c.json")
    assert classes.label_map.names == ("cat", "dog")
    assert classes.labels == {"cat": 0, "dog": 1, 2: 0, 7: 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "cannot be read", id="no JSON"),
        pytest.param("{}", "is not a list of categories", id="no list"),
        pytest.param("[]", "is not a list of categories", id="empty"),
        pytest.param('[{"id": "1", "name": "cat"}]', "is not a list", id="id is text"),
        pytest.param('[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]', "id twice", id="twice"),
    ],
)
def test_a_bad_file_of_categories_is_explained(tmp_path, text, message):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UserError, match=message):
        Classes.from_categories(tmp_path / "c.json")

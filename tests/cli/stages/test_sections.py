"""Sections as plain mappings: what YAML means by a number, what merging keeps."""

import pytest

from lit_detseg.cli.stages.sections import difference, merged, read_mapping


def test_numbers_are_read_as_the_recipes_parser_reads_them(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "{small: 1e-4, large: 80_000, plain: 0.5, signed: -2.5E+3, dot: .5e-1, word: e4, v: 1.2.3}"
    )
    assert read_mapping(path) == {
        "small": 0.0001,
        "large": 80_000,
        "plain": 0.5,
        "signed": -2500.0,
        "dot": 0.05,
        "word": "e4",
        "v": "1.2.3",
    }


def test_lists_are_replaced_and_null_wins():
    assert merged({"a": [1, 2], "b": {"c": 1}}, {"a": [3], "b": None}) == {"a": [3], "b": None}


def test_merging_changes_neither_of_the_two():
    base, over = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merged(base, over) == {"a": {"b": 1, "c": 2}}
    assert (base, over) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_arguments_stay_with_a_class_that_is_named_later_or_again():
    without_class = {"init_args": {"backbone": "vgg16"}}
    named = {"class_path": "A", "init_args": {"x": 1}}
    assert merged(without_class, named)["init_args"] == {"backbone": "vgg16", "x": 1}
    assert merged(named, {"class_path": "A"}) == named
    assert merged(named, {"class_path": "B"}) == {"class_path": "B"}


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        pytest.param({"a": {"b": 1}}, {"a": {"b": 1}}, None, id="the same"),
        pytest.param({"a": {"b": 1}}, {"a": {}}, "a.b was 1 and is not given", id="gone"),
        pytest.param({}, {"a": [1]}, "a was not given and is [1]", id="new"),
    ],
)
def test_a_difference_is_said_in_words(before, now, said):
    assert difference(before, now) == said

"""Rows of JSON lists without holding the file, against Python's own parser."""

import json
import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_detseg.data.readers import json_lists
from lit_detseg.data.readers.json_lists import JsonLists, Member, NotJsonError, Row

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
documents = st.dictionaries(st.text(max_size=4), st.lists(values, max_size=5) | values, max_size=4)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-le"])


@pytest.fixture(autouse=True, params=[5, 1 << 20], ids=["a few bytes at once", "all at once"])
def _chunks(request, monkeypatch):
    monkeypatch.setattr(json_lists, "CHUNK", request.param)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("json") / "a.json"


def scan(path):
    """The lists of a file, its other members, and the scan."""
    lists, others, scan = {}, set(), JsonLists(path)
    for event in scan:
        if isinstance(event, Row):
            lists[event.list_name].append(event)
        else:
            assert isinstance(event, Member)
            lists.pop(event.name, None)
            if event.is_list:
                lists[event.name] = []
            else:
                others.add(event.name)
    return lists, others, scan


@settings(max_examples=60)
@given(documents, encodings, st.sampled_from([None, 1]), st.booleans())
def test_rows_are_those_of_the_parser_and_lie_where_they_are_said_to(
    file, document, encoding, indent, ascii
):
    data = json.dumps(document, indent=indent, ensure_ascii=ascii).encode(encoding, "surrogatepass")
    file.write_bytes(data)

    lists, others, found = scan(file)

    expected = json.loads(data)
    assert {name: [row.value for row in rows] for name, rows in lists.items()} == {
        name: value for name, value in expected.items() if isinstance(value, list)
    }
    assert others == set(expected) - set(lists)
    for rows in lists.values():
        for row in rows:
            text = data[row.start : row.end].decode(found.encoding, "surrogatepass")
            assert json.loads(text) == row.value


def complaint(parse):
    try:
        parse()
    except (NotJsonError, json.JSONDecodeError) as error:
        return str(error)
    return None


DOCUMENT = json.dumps(
    {"info": {"a": 1}, "images": [{"id": 1, "n": "x y"}, 1.5e-7, -3], "e": [], "t": [None, True]},
    indent=1,
)


def test_a_file_cut_anywhere_is_refused_where_the_parser_refuses_it(file):
    for length in range(1, len(DOCUMENT)):
        file.write_text(DOCUMENT[:length])
        expected = complaint(lambda length=length: json.loads(DOCUMENT[:length]))
        assert complaint(lambda: scan(file)) == expected is not None


def test_a_wrong_character_is_found_where_the_parser_finds_it(file):
    generator = random.Random(0)
    for _ in range(400):
        at = generator.randrange(len(DOCUMENT))
        wrong = generator.choice(string.digits + '",:[]{}.ex')
        text = DOCUMENT[:at] + wrong + DOCUMENT[at + generator.randrange(2) :]
        file.write_text(text)
        assert complaint(lambda: scan(file)) == complaint(lambda text=text: json.loads(text))


def test_an_error_early_in_the_file_does_not_need_the_rest(file, monkeypatch):
    file.write_text('{"a": [1, nan, ' + "2, " * 10_000)
    scanned = JsonLists(file)
    with pytest.raises(NotJsonError, match=r"Expecting value: line 1 column 11 .char 10."):
        list(scanned)
    if json_lists.CHUNK < 100:
        assert len(scanned._text) < 500


@pytest.mark.parametrize(("text", "kind"), [("[1, [2]]", "list"), ("3", "int"), ('"a"', "str")])
def test_a_file_that_is_no_object_says_what_it_is(file, text, kind):
    file.write_text(text)
    lists, others, found = scan(file)
    assert (lists, others, found.outermost) == ({}, set(), kind)


def test_a_byte_that_is_no_text_is_named(file):
    file.write_bytes(b'{"images": ["\xff"]}')
    with pytest.raises(NotJsonError, match="byte 13 is not utf-8"):
        scan(file)


def test_the_last_of_equal_names_counts(file):
    file.write_text('{"a": [1], "b": 2, "a": [3, 4]}')
    lists, _, _ = scan(file)
    assert [row.value for row in lists["a"]] == [3, 4]

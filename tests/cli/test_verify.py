"""`lit-detseg verify` as typed."""

import json
from dataclasses import replace

import pytest

from lit_detseg.cli.verify import main
from lit_detseg.errors import UserError
from tests.data.verification.crafted import CAT, DOG, clean_samples, sample, write_set


@pytest.fixture
def clean(tmp_path):
    return str(write_set(tmp_path / "clean", clean_samples()))


@pytest.fixture
def bad(tmp_path):
    """Two bad objects on one image, a third on another, a warning, and a damaged file."""
    samples = [
        sample("a", 10, replace(CAT, area=0.0), replace(DOG, area=0.0)),
        sample("b", 11, CAT, DOG, DOG),
        sample("c", 12, replace(DOG, area=0.0)),
    ]
    folder = write_set(tmp_path / "bad", samples)
    with (folder / "shard-000001.tar").open("ab") as file:
        file.write(b"more")
    return str(folder)


def run(*arguments):
    """The exit code."""
    try:
        main([*arguments, "--workers", "0"])
    except SystemExit as end:
        return end.code
    return 0


def test_a_clean_set_ends_with_code_0(clean, capsys):
    assert run(clean) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "OK: 3 images in 2 files"
    rows = [line.replace("│", " ").split() for line in printed.splitlines()]
    assert ["dog", "2", "(2)"] in rows
    assert ["images", "3", "of", "3"] in rows


def test_errors_end_with_code_1_and_are_named(bad, capsys):
    assert run(bad) == 1
    printed = capsys.readouterr().out
    last = "BAD: 4 errors in 2 of 3 images and 1 of 2 files; 1 warning"
    assert printed.splitlines()[-1] == last
    assert "ERROR: bad area (3)" in printed
    assert f"{bad}/shard-000000.tar, a, object 7 (cat): the area is 0 pixels" in printed
    assert "WARNING: duplicate object (1)" in printed


def test_only_the_first_findings_of_a_kind_are_printed(tmp_path, capsys):
    many = [replace(CAT, box=(k, 0.0, k + 9.0, 9.0), area=0.0, mask=None) for k in range(9)]
    folder = write_set(tmp_path / "many", [sample("a", 0, *many)])
    assert run(str(folder)) == 1
    printed = capsys.readouterr().out
    assert printed.count("the area is 0 pixels") == 3
    assert "... and 6 more" in printed


def test_programs_get_everything(bad, clean, tmp_path, capsys):
    report = tmp_path / "report.json"
    assert run(bad, clean, "--json", "--report", str(report)) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(report.read_text())
    assert (printed["errors"], printed["bad_images"], printed["bad_files"]) == (4, 2, 1)
    assert printed["kinds"] == {"wrong_file_size": 1, "bad_area": 3, "duplicate_object": 1}
    assert [one["shards"] for one in printed["sets"]] == [bad, clean]
    assert {one["severity"] for one in printed["findings"]} == {"error", "warning"}


def test_sets_are_compared(clean, tmp_path, capsys):
    copy = write_set(tmp_path / "copy", clean_samples())
    assert run(clean, str(copy)) == 1
    printed = capsys.readouterr().out
    assert "ERROR: image in two sets (3)" in printed
    assert f"the same file as a of {clean}" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "required: SHARDS", id="no set"),
        pytest.param(["/nowhere"], "is not a shard set", id="no folder"),
        pytest.param(["/nowhere", "--report", "/no/where/r.json"], "no such folder", id="report"),
        pytest.param(["s3://bucket/set"], "verify reads folders", id="remote"),
    ],
)
def test_mistakes_are_one_message(arguments, message):
    with pytest.raises(UserError, match=message):
        run(*arguments)

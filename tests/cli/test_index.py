"""`lit-detseg index` as typed."""

import json

import pytest

from lit_detseg.cli.index import main
from lit_detseg.cli.verify import main as verify
from lit_detseg.errors import UserError
from tests.data.foreign_tars.tars import jpeg, row, write_tar


@pytest.fixture
def tar(tmp_path):
    """One annotated image with a bad row, one without annotation."""
    return write_tar(
        tmp_path / "x.tar",
        [
            ("a.jpg", jpeg(0)),
            ("a.json", [row(1), row(0, (50, 0, 20, 20))]),
            ("b.jpg", jpeg(1)),
            ("b.txt", b"caption"),
        ],
    )


def run_json(capsys, *arguments):
    main([*map(str, arguments), "--workers", "0", "--json"])
    return json.loads(capsys.readouterr().out)


def test_the_summary_counts_what_was_read_and_left_out(tar, capsys):
    summary = run_json(capsys, tar, "--classes", "cat, dog", "--on-error", "drop")
    assert summary == {
        "images": 2,
        "annotated": 1,
        "objects": 1,
        "tars": 1,
        "records": "records.tar",
        "images_read": 2,
        "objects_read": 2,
        "dropped": {"box_outside_image": 1},
        "clipped": 0,
        "ignored_files": {"txt": 1},
        "out": str(tar.parent),
        "classes": {"cat": 0, "dog": 1},
    }


def test_what_is_indexed_verifies(tar, capsys):
    main([str(tar), "--classes", "cat,dog", "--on-error", "clip", "--workers", "0"])
    printed = capsys.readouterr().out
    assert "cut at the border: 1" in printed
    assert "left alone: 1 txt" in printed
    verify([str(tar.parent), "--workers", "0"])
    assert capsys.readouterr().out.splitlines()[-1] == "OK: 2 images in 2 files"


def test_categories_name_the_numbers(tar, tmp_path, capsys):
    categories = tmp_path / "categories.json"
    categories.write_text(json.dumps([{"id": 0, "name": "hat"}, {"id": 1, "name": "cat"}]))
    options = ["--categories", categories, "--on-error", "drop", "--out", tmp_path / "out"]
    summary = run_json(capsys, tar, *options)
    assert summary["classes"] == {"hat": 0, "cat": 1}
    assert summary["out"] == str(tmp_path / "out")


def test_bad_rows_are_refused_by_default(tar):
    with pytest.raises(UserError, match=r"x\.tar, a, object #2 \(cat\): box outside image"):
        main([str(tar), "--classes", "cat,dog", "--workers", "0"])


def test_images_alone_need_no_classes(tar, capsys):
    summary = run_json(capsys, tar, "--images-only")
    assert (summary["images"], summary["annotated"], summary["classes"]) == (2, 0, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "required: TAR", id="no tar"),
        pytest.param(["x.tar", "--classes", "a", "--categories", "b"], "not allowed", id="both"),
        pytest.param(["/nowhere.tar"], "cannot be read", id="no file"),
    ],
)
def test_mistakes_are_one_message(arguments, message):
    with pytest.raises(UserError, match=message):
        main(arguments)


def test_help_says_which_annotations_are_understood(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    assert '{"bbox": [x, y, width, height], "category_id": 3}' in capsys.readouterr().out

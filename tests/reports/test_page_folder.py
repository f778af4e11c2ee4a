"""A page appears as a whole and replaces nothing else."""

import pytest

from lit_detseg.reports.page_folder import DATA, IMAGES, PAGE, page_folder
from lit_detseg.structures import UserError


def write(out, overwrite=False, text="data"):
    with page_folder(out, overwrite) as folder:
        (folder / DATA).write_text(text)
        (folder / IMAGES / "0.jpg").write_bytes(b"")


def test_a_page_appears_when_it_is_complete(tmp_path):
    out = tmp_path / "new" / "page"
    with page_folder(out) as folder:
        assert not out.exists()
        (folder / DATA).write_text("data")

    own = {path.name for path in PAGE.iterdir() if path.is_file()}
    assert "index.html" in own
    assert {path.name for path in out.iterdir()} == own | {DATA, IMAGES}
    assert [path.name for path in out.parent.iterdir()] == ["page"]


def test_an_attempt_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), page_folder(tmp_path / "page"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_attempt_that_fails_leaves_the_older_page(tmp_path):
    write(tmp_path / "page")
    with pytest.raises(ZeroDivisionError), page_folder(tmp_path / "page", overwrite=True):
        raise ZeroDivisionError
    assert (tmp_path / "page" / DATA).read_text() == "data"


def test_a_page_is_replaced_when_asked(tmp_path):
    write(tmp_path / "page")
    with pytest.raises(UserError, match="already holds a page.*--overwrite"):
        write(tmp_path / "page", text="other")
    assert (tmp_path / "page" / DATA).read_text() == "data"

    write(tmp_path / "page", overwrite=True, text="other")
    assert (tmp_path / "page" / DATA).read_text() == "other"
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "page").mkdir()
    write(tmp_path / "page")
    assert (tmp_path / "page" / DATA).is_file()


@pytest.mark.parametrize(
    "name", ["thesis.tex", "images/holiday.raw", "images/folder/x.jpg", "index.json"]
)
def test_what_is_not_a_page_is_left_alone(tmp_path, name):
    write(tmp_path / "page")
    file = tmp_path / "page" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")

    with pytest.raises(UserError, match="is not a page of"):
        write(tmp_path / "page", overwrite=True)
    assert file.read_text() == "mine"


def test_a_file_is_in_the_way(tmp_path):
    (tmp_path / "page").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        write(tmp_path / "page", overwrite=True)


def test_left_overs_of_a_killed_attempt_are_removed(tmp_path):
    (tmp_path / "page.writing" / IMAGES).mkdir(parents=True)
    (tmp_path / "page.writing" / IMAGES / "old.jpg").write_bytes(b"")
    write(tmp_path / "page")
    assert not (tmp_path / "page" / IMAGES / "old.jpg").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["page"]

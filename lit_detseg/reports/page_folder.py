"""The folder of a page: it appears complete or not at all, and replaces nothing but such a page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lit_detseg.structures import UserError

PAGE = Path(__file__).with_name("page")  # the files that do not depend on the set
DATA, IMAGES = "data.js", "images"


@contextmanager
def page_folder(out: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder beside `out`, with the page's own files, that takes its name when all went well.

    Raises:
        UserError: when `out` is in the way.
    """
    out = out.absolute()
    writing, replaced = (out.with_name(f"{out.name}.{end}") for end in ("writing", "replaced"))
    check_free(out, overwrite)
    for left_over in (writing, replaced):
        _remove(left_over)
    try:
        (writing / IMAGES).mkdir(parents=True)
        for file in _own_files():
            shutil.copyfile(file, writing / file.name)
        yield writing
        if out.exists():
            out.rename(replaced)
        writing.rename(out)
    except OSError as error:
        raise UserError(f"The page cannot be written to {out} ({error.strerror}).") from error
    finally:
        _remove(writing)
    _remove(replaced)


def check_free(out: Path, overwrite: bool) -> None:
    """Stop when `out` is in the way and may not be replaced.

    Raises:
        UserError: which says what is there.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file. Choose another --out.")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if foreign := _foreign(out):
        raise UserError(
            f"{out} is not a page of `lit-detseg browse`: it holds {', '.join(foreign[:5])}. "
            "Choose another --out, or move that away."
        )
    if not overwrite:
        raise UserError(f"{out} already holds a page. Choose another --out, or give --overwrite.")


def _own_files() -> list[Path]:
    return sorted(path for path in PAGE.iterdir() if path.is_file())


def _foreign(folder: Path) -> list[str]:
    """What a folder holds that no page has."""
    own = {DATA, IMAGES, *(path.name for path in _own_files())}
    names = [path.name for path in folder.iterdir() if path.name not in own]
    images = folder / IMAGES
    if images.is_dir():
        names += [
            f"{IMAGES}/{path.name}"
            for path in images.iterdir()
            if path.suffix not in (".jpg", ".png") or not path.is_file()
        ]
    return sorted(names)


def _remove(folder: Path) -> None:
    """Delete what an attempt left, if there is any."""
    if not folder.is_dir():
        return
    if foreign := _foreign(folder):
        raise UserError(
            f"{folder} is in the way: it holds {', '.join(foreign[:5])}. Move it away first."
        )
    shutil.rmtree(folder)

"""Members of tars against Python's tarfile and webdataset's rule."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from lit_detseg.data.verification.tar_members import split_name, walk


def write(path, members, form=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@given(st.text(alphabet="ab./_-", min_size=1, max_size=12))
def test_names_are_split_as_webdataset_does(name):
    key, suffix = base_plus_ext(name)
    if name.startswith("__"):
        return
    assert split_name(name) == (None if key is None else (key, suffix.lower()))


def test_webdatasets_own_notes_are_no_samples():
    assert split_name("__meta__/a.json") is None
    assert split_name("__key__") is None


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_extents_lead_to_the_bytes_under_any_name(tmp_path, form):
    long = "x" * 90 if form == tarfile.USTAR_FORMAT else "ü" * 150
    members = [("a.png", b"1" * 700), (f"{long}.json", b"22"), ("c.png", b""), ("d.png", b"4")]
    path = write(tmp_path / "a.tar", members, form)

    walked = walk(path)

    data = path.read_bytes()
    assert walked.damage is None
    assert [(m.name, data[m.offset : m.offset + m.size]) for m in walked.members] == members


def test_folders_and_links_are_counted_and_not_members(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.REGTYPE):
            member = tarfile.TarInfo(f"a{kind.decode()}.png")
            member.type = kind
            tar.addfile(member)
    walked = walk(tmp_path / "a.tar")
    assert ([member.name for member in walked.members], walked.others) == (["a0.png"], 2)


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100])
def test_what_is_no_tar_is_damaged(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    assert walk(tmp_path / "a.tar").damage is not None


def test_a_damaged_header_ends_the_walk_and_is_told(tmp_path):
    path = write(tmp_path / "a.tar", [("a.png", b"1"), ("b.png", b"2"), ("c.png", b"3")])
    data = bytearray(path.read_bytes())
    data[1024] ^= 1  # the name of b.png, against its checksum
    path.write_bytes(data)
    walked = walk(path)
    assert [member.name for member in walked.members] == ["a.png"]
    assert walked.damage == "no header at byte 1024, behind a.png"

"""Which members make a sample, and which tars are refused."""

import bz2
import gzip
import lzma
import tarfile

import pytest

from lit_detseg.data.foreign_tars.groups import read_groups
from lit_detseg.errors import UserError
from tests.data.foreign_tars.tars import jpeg, write_tar


@pytest.mark.parametrize(
    ("compress", "command"),
    [(gzip.compress, "gunzip"), (bz2.compress, "bunzip2"), (lzma.compress, "unxz")],
)
def test_a_compressed_tar_is_refused_with_what_undoes_it(tmp_path, compress, command):
    tar = write_tar(tmp_path / "x.tar", [("a.jpg", jpeg(0))])
    tar.write_bytes(compress(tar.read_bytes()))
    with pytest.raises(UserError, match=f"is compressed.*{command} x.tar"):
        read_groups(tar, with_records=True)


def test_a_damaged_tar_is_refused(tmp_path):
    tar = write_tar(tmp_path / "x.tar", [("a.jpg", jpeg(0)), ("b.jpg", jpeg(1))])
    with tarfile.open(tar) as opened:
        second = opened.getmember("b.jpg").offset
    data = bytearray(tar.read_bytes())
    data[second] ^= 1
    tar.write_bytes(data)
    with pytest.raises(UserError, match="is damaged: no header at byte"):
        read_groups(tar, with_records=True)


def test_what_belongs_to_no_sample_is_counted_by_kind(tmp_path):
    members = [
        ("a.jpg", jpeg(0)),
        ("a.pickle", b"never opened"),
        ("b.pickle", b"never opened"),
        ("a.seg.png", b""),
        ("README", b""),
        ("__meta__/x.json", b"{}"),
        ("lonely.json", {}),
    ]
    contents = read_groups(write_tar(tmp_path / "x.tar", members), with_records=True)
    assert [group.key for group in contents.groups] == ["a"]
    assert contents.faults == []
    assert contents.ignored == {
        "pickle": 2,
        "seg.png": 1,
        "a name without a suffix": 2,
        "json without an image": 1,
    }

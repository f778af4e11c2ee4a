"""Parts packed apart and joined: the bytes of one go, or a clear refusal."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_detseg.data.images import encode_png
from lit_detseg.data.index import ShardIndex
from lit_detseg.data.packing.pack import PackOptions, pack, pack_part
from lit_detseg.data.packing.parts import merge
from lit_detseg.data.packing.plan import Part
from lit_detseg.data.records import Object, RawSample
from lit_detseg.errors import UserError
from lit_detseg.structures import LabelMap
from tests.data.shard_sets import ListReader

IMAGE = encode_png(np.zeros((4, 5, 3), np.uint8))
BAD = Object((1.0, 1.0, 1.0, 2.0), 0, 1.0, source_id=9)


def samples(count, bad=()):
    """Images; where `bad` names some with a bad object, every fifth cannot be read besides."""
    return [
        RawSample(
            f"{number:03d}",
            b"" if bad and number % 5 == 4 else IMAGE,
            4,
            5,
            (Object((0.0, 0.0, 2.0, 2.0), number % 2, 4.0), *([BAD] * (number in bad))),
            file_name=f"{number}.png",
        )
        for number in range(count)
    ]


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


TWO_A_SHARD = PackOptions(samples_per_shard=2, workers=1)


def pack_parts(reader, out, of, options=TWO_A_SHARD):
    for number in range(1, of + 1):
        pack_part(reader, out, Part(number, of), options)


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 12),
    per_shard=st.integers(1, 5),
    workers=st.integers(1, 3),
    of=st.integers(1, 5),
    bad=st.sets(st.integers(0, 11), max_size=3),
)
def test_workers_and_parts_change_no_byte(count, per_shard, workers, of, bad):
    reader = ListReader(samples(count, bad))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack(reader, folder / "one", "drop", per_shard, workers=1)
        pack(reader, folder / "many", "drop", per_shard, workers=workers)
        pack_parts(reader, folder / "joined", of, PackOptions("drop", per_shard, workers=workers))
        merge(folder / "joined")

        whole = contents(folder / "one")
        assert contents(folder / "many") == whole
        assert contents(folder / "joined") == whole
        assert names(folder) == ["joined", "many", "one"]


@given(shards=st.integers(0, 200), of=st.integers(1, 40))
def test_parts_are_all_shards_once_in_order_and_alike_in_size(shards, of):
    parts = [Part(number, of).shards(shards) for number in range(1, of + 1)]
    assert [number for part in parts for number in part] == list(range(shards))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/3/5", "-1/3", ""])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="write I/N with I from 1 to N"):
        Part.parse(text)
    assert Part.parse("3/16") == Part(3, 16)


def test_missing_parts_are_named(tmp_path):
    reader = ListReader(samples(8))
    for number in (1, 4):
        pack_part(reader, tmp_path / "out", Part(number, 4), PackOptions(samples_per_shard=2))
    (tmp_path / "out.part-0002-of-0004.packing").mkdir()

    with pytest.raises(UserError, match=r"2 of 4 parts of .*out are missing: 2 .not finished., 3"):
        merge(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_any_part_the_way_to_make_them_is_told(tmp_path):
    with pytest.raises(UserError, match="no parts of .*--part 1/16"):
        merge(tmp_path / "out")


def test_parts_of_two_divisions_are_refused(tmp_path):
    pack_parts(ListReader(samples(8)), tmp_path / "out", 2)
    pack_part(ListReader(samples(8)), tmp_path / "out", Part(1, 3), PackOptions())
    with pytest.raises(UserError, match=r"out.part-0001-of-0002, out.part-0001-of-0003"):
        merge(tmp_path / "out")


class Keyed(ListReader):
    """A reader that knows its keys."""

    @property
    def keys(self):
        return [sample.image_id for sample in self.samples]


FOREIGN = {
    "other classes": (ListReader(samples(8), LabelMap(("dog", "cat"))), {}, "label_map: "),
    "fewer images": (ListReader(samples(7)), {}, "images: 7 against 8"),
    "other keys": (Keyed(samples(8)), {}, "keys: "),
    "other options": (ListReader(samples(8)), {"samples_per_shard": 3}, "samples_per_shard: 3 aga"),
    "other mending": (ListReader(samples(8)), {"on_error": "drop"}, "on_error: drop against fail"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_part_is_refused_with_the_difference(tmp_path, name):
    reader, options, message = FOREIGN[name]
    chosen = PackOptions(**{"samples_per_shard": 2, "workers": 1, **options})
    pack_part(ListReader(samples(8)), tmp_path / "out", Part(1, 2), PackOptions("fail", 2))
    pack_part(reader, tmp_path / "out", Part(2, 2), chosen)
    with pytest.raises(UserError, match=rf"part-0002-of-0002 and .*different data.*{message}"):
        merge(tmp_path / "out")


def test_a_renamed_part_is_noticed(tmp_path):
    pack_parts(ListReader(samples(8)), tmp_path / "out", 2)
    shutil.rmtree(Part(2, 2).folder(tmp_path / "out"))
    shutil.copytree(Part(1, 2).folder(tmp_path / "out"), Part(2, 2).folder(tmp_path / "out"))
    with pytest.raises(UserError, match="holds part 1/2: it was renamed"):
        merge(tmp_path / "out")


def test_parts_without_an_image_are_fine_and_a_set_without_is_not(tmp_path):
    broken = [RawSample(key, b"", 4, 5, (), file_name=key) for key in "abc"]
    options = PackOptions("drop", 1)
    pack_parts(ListReader(broken), tmp_path / "out", 5, options)

    with pytest.raises(UserError, match="all were left out .3 unreadable image"):
        merge(tmp_path / "out")

    good = RawSample("d", IMAGE, 4, 5, (), file_name="d")
    for number in range(1, 6):
        shutil.rmtree(Part(number, 5).folder(tmp_path / "out"))
    pack_parts(ListReader([*broken, good]), tmp_path / "out", 5, options)
    assert merge(tmp_path / "out").keys == ("d",)


def test_bad_rows_stop_the_part_that_has_them(tmp_path):
    reader = ListReader([*samples(8)[:6], *samples(8, bad={6})[6:]])
    pack_part(reader, tmp_path / "out", Part(1, 2), PackOptions("fail", 2))
    with pytest.raises(UserError, match=r"object 9 .cat.: zero size box"):
        pack_part(reader, tmp_path / "out", Part(2, 2), PackOptions("fail", 2))
    assert names(tmp_path) == ["out.part-0001-of-0002"]


def test_a_finished_part_is_not_packed_twice(tmp_path):
    reader, said = ListReader(samples(8)), []
    options = PackOptions(samples_per_shard=2, say=said.append)
    first = pack_part(reader, tmp_path / "out", Part(1, 2), options)
    folder = Part(1, 2).folder(tmp_path / "out")
    before = (folder / "shard-000000.tar").stat().st_ino

    again = pack_part(reader, tmp_path / "out", Part(1, 2), options)

    assert again.shards == first.shards
    assert (folder / "shard-000000.tar").stat().st_ino == before
    assert ["packed already" in sentence for sentence in said] == [True]
    with pytest.raises(UserError, match="not empty"):
        pack_part(ListReader(samples(9)), tmp_path / "out", Part(1, 2), options)


@pytest.mark.parametrize("moves", range(8))
def test_a_merge_that_was_killed_can_be_repeated(tmp_path, monkeypatch, moves):
    """Four shards are moved, the set gets its name, three folders are removed."""
    reader = ListReader(samples(8))
    pack(reader, tmp_path / "whole", samples_per_shard=2)
    pack_parts(reader, tmp_path / "out", 2)
    left = [moves]

    def limited(rename):
        def renamed(*arguments):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return rename(*arguments)

        return renamed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", limited(Path.replace))
        patch.setattr(Path, "rename", limited(Path.rename))
        patch.setattr(shutil, "rmtree", limited(shutil.rmtree))
        with pytest.raises(KeyboardInterrupt):
            merge(tmp_path / "out")

    merge(tmp_path / "out")

    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert [name for name in names(tmp_path) if "part" in name] == []


def test_a_merge_replaces_an_older_set_only_if_asked(tmp_path):
    pack(ListReader(samples(3)), tmp_path / "out")
    pack_parts(ListReader(samples(8)), tmp_path / "out", 2)
    with pytest.raises(UserError, match="not empty"):
        merge(tmp_path / "out")
    assert len(merge(tmp_path / "out", overwrite=True)) == 8
    assert len(ShardIndex.read(tmp_path / "out")) == 8


def test_shards_are_moved_and_a_lost_one_is_named(tmp_path):
    pack_parts(ListReader(samples(8)), tmp_path / "out", 2)
    shard = Part(2, 2).folder(tmp_path / "out") / "shard-000003.tar"
    before = shard.stat().st_ino
    content = shard.read_bytes()
    os.truncate(shard, 1024)
    with pytest.raises(UserError, match=r"shard-000003.tar is missing or has the wrong length"):
        merge(tmp_path / "out")

    shard.write_bytes(content)
    merge(tmp_path / "out")

    assert (tmp_path / "out/shard-000003.tar").stat().st_ino == before


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"format": 99})])
def test_a_part_file_that_cannot_be_read_is_named(tmp_path, text):
    pack_parts(ListReader(samples(8)), tmp_path / "out", 2)
    (Part(2, 2).folder(tmp_path / "out") / "part.json").write_text(text)
    with pytest.raises(UserError, match=r"part-0002-of-0002.part.json cannot be read"):
        merge(tmp_path / "out")

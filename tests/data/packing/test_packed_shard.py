"""Going on with a data set that is packed in part: what is kept, and what is made anew."""

import os
from dataclasses import replace

import numpy as np
import pytest

from lit_detseg.data.images import encode_png
from lit_detseg.data.index import ShardIndex
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.packing.packed_shard import PackedShard
from lit_detseg.data.records import Object, RawSample
from lit_detseg.structures import LabelMap
from tests.data.packing.test_label_png import grey
from tests.data.shard_sets import ListReader

CAT = Object((0.0, 0.0, 2.0, 2.0), 0, 4.0)


class Interrupted(ListReader):
    """Stops at its last image, as Ctrl-C there does."""

    def read(self, rank):
        if rank == len(self) - 1:
            raise KeyboardInterrupt
        return super().read(rank)


@pytest.fixture
def samples(tmp_path):
    """Six images in files of their own."""
    (tmp_path / "images").mkdir()
    made = []
    for key in "abcdef":
        path = tmp_path / f"images/{key}.png"
        path.write_bytes(encode_png(np.full((4, 5, 3), ord(key), np.uint8)))
        made.append(RawSample(key, path, 4, 5, (CAT,), file_name=f"{key}.png"))
    return made


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def start(samples, out, **options):
    """Pack the first two of three shards."""
    with pytest.raises(KeyboardInterrupt):
        pack(Interrupted(samples), out, samples_per_shard=2, workers=1, **options)


def go_on(samples, out, label_map=None, samples_per_shard=2, **options):
    """Pack again: the numbers of the shards that were kept, and what was said."""
    folder = out.with_name(f"{out.name}.packing") / "shards"
    before = {path.name: path.stat().st_ino for path in folder.glob("shard-*.tar")}
    said = []
    reader = ListReader(samples) if label_map is None else ListReader(samples, label_map)
    pack(reader, out, samples_per_shard=samples_per_shard, say=said.append, **options)
    after = {path.name: path.stat().st_ino for path in out.glob("shard-*.tar")}
    kept = [int(name[6:12]) for name in sorted(after) if before.get(name) == after[name]]
    return kept, " ".join(said)


def assert_as_in_one_go(samples, tmp_path, samples_per_shard=2, **options):
    pack(ListReader(samples), tmp_path / "whole", "fail", samples_per_shard, **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out", "whole"]


@pytest.mark.parametrize("workers", [1, 2])
def test_finished_shards_are_kept(tmp_path, samples, workers):
    start(samples, tmp_path / "out")

    kept, said = go_on(samples, tmp_path / "out", workers=workers)

    assert kept == [0, 1]
    assert "2 of 3 shards were finished by an earlier attempt" in said
    assert "packed again" not in said
    assert_as_in_one_go(samples, tmp_path)


def other_image(samples):
    samples[2].image.write_bytes(encode_png(np.full((4, 5, 3), 7, np.uint8)))
    return samples


def other_time(samples):
    os.utime(samples[2].image, ns=(5, 5))
    return samples


def other_annotation(samples):
    moved = replace(CAT, box=(0.0, 0.0, 2.0, 3.0))
    return [*samples[:2], replace(samples[2], objects=(moved,)), *samples[3:]]


def void_added(samples):
    void = {"size": [4, 5], "counts": [20]}
    return [*samples[:2], replace(samples[2], void=void), *samples[3:]]


@pytest.mark.parametrize("change", [other_image, other_time, other_annotation, void_added])
def test_a_shard_of_other_input_is_packed_again(tmp_path, samples, change):
    start(samples, tmp_path / "out")
    samples = change(samples)

    kept, said = go_on(samples, tmp_path / "out")

    assert kept == [0]
    assert "1 of them were made of other images, annotations or options: packed again" in said
    assert_as_in_one_go(samples, tmp_path)


def test_an_image_inserted_before_moves_all_others(tmp_path, samples):
    start(samples, tmp_path / "out")
    samples = [replace(samples[0], image_id="0"), *samples]

    kept, _ = go_on(samples, tmp_path / "out")

    assert kept == []
    assert_as_in_one_go(samples, tmp_path)


@pytest.mark.parametrize("per_shard", [1, 3])
def test_other_options_leave_nothing_of_the_earlier_attempt(tmp_path, samples, per_shard):
    start(samples, tmp_path / "out")
    kept, _ = go_on(samples, tmp_path / "out", samples_per_shard=per_shard)
    assert kept == []
    assert_as_in_one_go(samples, tmp_path, samples_per_shard=per_shard)


def test_clipping_and_other_classes_are_other_input(tmp_path, samples):
    start(samples, tmp_path / "out")
    assert go_on(samples, tmp_path / "out", on_error="clip")[0] == []

    start(samples, tmp_path / "other")
    assert go_on(samples, tmp_path / "other", LabelMap(("dog", "cat")))[0] == []


def test_dropping_makes_the_same_shards_as_failing(tmp_path, samples):
    start(samples, tmp_path / "out")
    assert go_on(samples, tmp_path / "out", on_error="drop")[0] == [0, 1]


@pytest.mark.parametrize("damage", ["cut", "gone", "no note", "half a note"])
def test_a_damaged_shard_is_packed_again(tmp_path, samples, damage):
    start(samples, tmp_path / "out")
    shard = tmp_path / "out.packing/shards/shard-000001.tar"
    note = tmp_path / "out.packing/notes/shard-000001.json"
    if damage == "cut":
        os.truncate(shard, 512)
    elif damage == "gone":
        shard.unlink()
    elif damage == "no note":
        note.unlink()
    else:
        note.write_text(note.read_text()[:-9])

    assert go_on(samples, tmp_path / "out")[0][:1] == [0]

    assert_as_in_one_go(samples, tmp_path)


def test_a_shard_of_which_no_image_is_left_is_remembered(tmp_path, samples):
    samples[:2] = [replace(sample, image=b"") for sample in samples[:2]]
    start(samples, tmp_path / "out", on_error="drop")
    note = PackedShard.read(tmp_path / "out.packing/notes/shard-000000.json")
    assert (note.shard, note.images_read, note.dropped.by_kind()) == (
        None,
        2,
        {"unreadable_image": 2},
    )

    kept, said = go_on(samples, tmp_path / "out", on_error="drop")

    assert (kept, "packed again" in said) == ([1], False)


def test_classes_of_pixels_are_stored_and_counted(tmp_path, samples):
    pngs = [grey(*[[0, 0, 1, 255, 255]] * 4), grey(*[[1] * 5] * 4)]
    labelled = [replace(s, label_png=p) for s, p in zip(samples[:2], pngs, strict=True)]
    pack(ListReader(labelled), tmp_path / "out", samples_per_shard=1)

    index = ShardIndex.read(tmp_path / "out")

    assert index.pixel_counts == ({0: 8, 1: 4}, {1: 20})
    for number, png in enumerate(pngs):
        data = (tmp_path / "out" / index.shards[number].name).read_bytes()
        at, size = index.label.offset[number], index.label.size[number]
        assert data[at : at + size] == png


def test_classes_of_pixels_for_some_images_only_are_a_bug(tmp_path, samples):
    samples[0] = replace(samples[0], label_png=grey(*[[0] * 5] * 4))
    with pytest.raises(ValueError, match="for some images and not for others"):
        pack(ListReader(samples), tmp_path / "out")

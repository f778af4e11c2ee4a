"""Faults of files, planted one by one: what is damaged, what is there, what is not."""

import io
import os
import tarfile
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from lit_detseg.data.index import Member, Shard, ShardIndex
from lit_detseg.data.verification.verify import FOREIGN
from tests.data.verification.crafted import (
    clean_samples,
    findings,
    picture,
    png,
    rewrite_index,
    write_set,
)

FIRST = "shard-000000.tar"


@pytest.fixture
def folder(tmp_path):
    return write_set(tmp_path / "set", clean_samples())


def change_byte(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_changed_byte_that_no_decoder_sees_is_found_by_the_checksum(folder):
    change_byte(folder / FIRST, -1)  # behind the end of the archive
    assert findings(folder) == [("wrong_checksum", FIRST, "", "")]


def test_two_shards_in_each_others_place_are_found(folder):
    first, second = folder / FIRST, folder / "shard-000001.tar"
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    kinds = {found[:2] for found in findings(folder)}
    assert {("wrong_members", FIRST), ("wrong_members", "shard-000001.tar")} <= kinds


def test_a_shard_that_is_cut_short_is_found_with_the_samples_that_it_costs(folder):
    index = ShardIndex.read(folder)
    os.truncate(folder / FIRST, int(index.image.offset[1]) + 10)  # within the image of "b"
    assert findings(folder) == [
        ("wrong_file_size", FIRST, "", ""),
        ("damaged_tar", FIRST, "", ""),
        ("wrong_members", FIRST, "", ""),  # the record of "b"
        ("unreadable_image", FIRST, "b", ""),
        ("unreadable_annotation", FIRST, "b", ""),
    ]


def test_a_shard_that_has_grown_is_found(folder):
    with (folder / FIRST).open("ab") as file:
        file.write(bytes(512))
    assert findings(folder) == [("wrong_file_size", FIRST, "", "")]


def test_a_damaged_header_is_found_though_all_samples_can_be_read(folder):
    index = ShardIndex.read(folder)
    change_byte(folder / FIRST, int(index.record.offset[0]) - 512)  # the name a.json, unsigned
    assert findings(folder) == [
        ("wrong_checksum", FIRST, "", ""),
        ("damaged_tar", FIRST, "", ""),
        ("wrong_members", FIRST, "", ""),
    ]


def repack(folder, members):
    """The first shard again, with these members, under an index that knows size and checksum."""
    path = folder / FIRST
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    data = path.read_bytes()
    index = ShardIndex.read(folder)
    first = replace(index.shards[0], bytes=len(data), sha256=sha256(data).hexdigest())
    with tarfile.open(path) as tar:
        where = {member.name: (member.offset_data, member.size) for member in tar}
    image, record = index.image, index.record
    for number, key in enumerate("ab"):
        image.offset[number], image.size[number] = where[f"{key}.png"]
        record.offset[number], record.size[number] = where[f"{key}.json"]
    rewrite_index(folder, shards=(first, index.shards[1]), image=image, record=record)


def members_of(path):
    with tarfile.open(path) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]


def test_the_order_of_a_shard_is_that_of_its_index(folder):
    members = members_of(folder / FIRST)
    repack(folder, members)
    assert findings(folder) == []
    repack(folder, members[2:] + members[:2])
    assert findings(folder) == [("wrong_members", FIRST, "", "")]


def test_samples_that_webdataset_would_split_are_found(folder):
    a_image, a_record, b_image, b_record = members_of(folder / FIRST)
    repack(folder, [a_image, b_image, a_record, b_record])
    assert findings(folder) == [("wrong_members", FIRST, "", "")]


def test_a_member_that_the_index_does_not_name_is_found(folder):
    repack(folder, [*members_of(folder / FIRST), ("z.png", png(picture(9)).data)])
    assert findings(folder) == [("wrong_members", FIRST, "", "")]


def test_a_member_of_another_name_is_found(folder):
    members = dict(members_of(folder / FIRST))
    repack(folder, members.items())
    data = (folder / FIRST).read_bytes()
    with tarfile.open(folder / FIRST) as tar:
        header = tar.getmember("b.png").offset
    renamed = tarfile.TarInfo("x.png")
    renamed.size = len(members["b.png"])
    changed = data[:header] + renamed.tobuf(tarfile.USTAR_FORMAT) + data[header + 512 :]
    (folder / FIRST).write_bytes(changed)
    assert findings(folder) == [
        ("wrong_checksum", FIRST, "", ""),
        ("wrong_members", FIRST, "", ""),
    ]


def test_stray_files_are_named_and_folders_left_alone(folder):
    (folder / "shard-000007.tar").write_bytes(b"of an earlier packing")
    (folder / "statistics").mkdir()
    (folder / "statistics/x.json").write_text("{}")
    assert findings(folder) == [("stray_file", "shard-000007.tar", "", "")]


def test_a_side_file_of_records_is_checked_like_a_shard(folder):
    with tarfile.open(folder / "records.tar", "w") as tar:
        for path in sorted(folder.glob("shard-*.tar")):
            for name, data in members_of(path):
                if name.endswith(".json"):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    records = (folder / "records.tar").read_bytes()
    with tarfile.open(folder / "records.tar") as tar:
        extents = [(member.offset_data, member.size) for member in tar]
    side_file = Shard("records.tar", 3, len(records), sha256(records).hexdigest())
    offsets, sizes = zip(*extents, strict=True)
    rewrite_index(
        folder,
        records=side_file,
        record=Member(np.array(offsets), np.array(sizes)),
        report={"source": {"data_set": FOREIGN}},
    )
    assert findings(folder) == []

    change_byte(folder / "records.tar", offsets[2] + 1)  # the quote of its first name
    assert findings(folder) == [
        ("wrong_checksum", "records.tar", "", ""),
        ("unreadable_annotation", "shard-000001.tar", "c", ""),
    ]

    (folder / "records.tar").unlink()
    assert findings(folder) == [("missing_file", "records.tar", "", "")]

"""The side file against Python's tarfile."""

import json
import tarfile
from hashlib import sha256

from lit_detseg.data.foreign_tars.records_file import RecordsWriter
from lit_detseg.data.records import Record
from tests.data.verification.crafted import CAT


def test_every_record_is_found_under_any_key(tmp_path):
    keys = ["a", "folder/ü" * 30, "x" * 100]
    records = [Record(key, 40, 60, (CAT,)) for key in keys]
    writer = RecordsWriter(tmp_path / "r.tar")
    extents = [writer.add(record) for record in records]

    shard = writer.close()

    data = (tmp_path / "r.tar").read_bytes()
    assert (shard.samples, shard.bytes, shard.sha256) == (3, len(data), sha256(data).hexdigest())
    stored = [json.loads(data[offset : offset + size]) for offset, size in extents]
    assert [Record.from_json(one) for one in stored] == records
    with tarfile.open(tmp_path / "r.tar") as tar:
        assert [member.name for member in tar] == [f"{key}.json" for key in keys]

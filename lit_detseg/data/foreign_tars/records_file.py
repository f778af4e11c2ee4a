"""The side file of the records of tars that stay as they are: a tar of `<key>.json` files."""

import hashlib
import json
import os
import tarfile
from pathlib import Path

from lit_detseg.data.index import Shard
from lit_detseg.data.packing.shard_writer import TAR_BLOCK
from lit_detseg.data.records import Record

RECORDS_FILE = "records.tar"


def record_bytes(record: Record) -> bytes:
    """A record as shards hold it: the same record gives the same bytes."""
    return json.dumps(
        record.to_json(), ensure_ascii=False, sort_keys=True, separators=(",", ":")
    ).encode()


class RecordsWriter:
    """Writes the side file.

    Keys of others may be longer than what `ShardWriter` takes: PAX headers hold them.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._sha256 = hashlib.sha256()
        self._records = 0

    def add(self, record: Record) -> tuple[int, int]:
        """Append a record; offset and size of its bytes."""
        data = record_bytes(record)
        member = tarfile.TarInfo(f"{record.image_id}.json")  # mtime, uid and gid 0
        member.size, member.mode = len(data), 0o644
        self._write(member.tobuf(tarfile.PAX_FORMAT))
        offset = self._file.tell()
        self._write(data + bytes(-len(data) % TAR_BLOCK))
        self._records += 1
        return offset, len(data)

    def close(self) -> Shard:
        """End the file and wait until it is on the disk; what the index says of it."""
        end = self._file.tell() + 2 * TAR_BLOCK
        self._write(bytes(2 * TAR_BLOCK + -end % tarfile.RECORDSIZE))
        size = self._file.tell()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Shard(RECORDS_FILE, self._records, size, self._sha256.hexdigest())

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)

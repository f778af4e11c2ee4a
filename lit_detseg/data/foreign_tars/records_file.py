"""The side file of the records of tars that stay as they are: a tar of `<key>.json` files."""

import tarfile
from pathlib import Path

from lit_detseg.data.index import Shard
from lit_detseg.data.packing.tar_writer import TarWriter
from lit_detseg.data.records import Record

RECORDS_FILE = "records.tar"


class RecordsWriter:
    """Writes the side file.

    Keys of others may be longer than what `ShardWriter` takes: PAX headers hold them.
    """

    def __init__(self, path: Path) -> None:
        self._tar = TarWriter(path, tarfile.PAX_FORMAT)
        self._records = 0

    def add(self, record: Record) -> tuple[int, int]:
        """Append a record; offset and size of its bytes."""
        data = record.to_bytes()
        self._records += 1
        return self._tar.add(f"{record.image_id}.json", data), len(data)

    def close(self) -> Shard:
        """End the file and wait until it is on the disk; what the index says of it."""
        size, sha256 = self._tar.close()
        return Shard(RECORDS_FILE, self._records, size, sha256)

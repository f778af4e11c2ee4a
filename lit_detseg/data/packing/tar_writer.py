"""Plain tar files of equal owner, mode and time, which know where their members lie."""

import hashlib
import os
import tarfile
from pathlib import Path
from typing import Literal

TAR_BLOCK = 512  # bytes; headers and contents start at multiples of it


class TarWriter:
    """Writes a tar file.

    Args:
        path: of the file.
        header: of its members, one of `tarfile`'s formats: ustar, which every reader knows, or PAX
            for long names.
    """

    def __init__(self, path: Path, header: Literal[0, 1, 2] = tarfile.USTAR_FORMAT) -> None:
        self._header = header
        self._file = path.open("wb")
        self._sha256 = hashlib.sha256()

    def add(self, name: str, data: bytes) -> int:
        """Append a member; the offset of its first byte."""
        member = tarfile.TarInfo(name)  # mtime, uid and gid 0
        member.size, member.mode = len(data), 0o644
        self._write(member.tobuf(self._header))
        offset = self._file.tell()
        self._write(data + bytes(-len(data) % TAR_BLOCK))
        return offset

    def close(self) -> tuple[int, str]:
        """End the archive and wait until it is on the disk; its bytes and their SHA-256."""
        end = self._file.tell() + 2 * TAR_BLOCK
        self._write(bytes(2 * TAR_BLOCK + -end % tarfile.RECORDSIZE))
        size = self._file.tell()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return size, self._sha256.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)

"""Where the files of a shard set lie: in a folder, or under a URL that is read through a cache."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit


class StoredFile(NamedTuple):
    """A file that an index names."""

    location: str  # a path, or a URL
    bytes: int
    sha256: str
    samples: int

    @property
    def is_remote(self) -> bool:
        """Whether it is read through the cache."""
        return is_url(self.location)

    def __str__(self) -> str:
        return shown(self.location)


def is_url(folder: str | Path) -> bool:
    """Whether a shard set is read through the cache."""
    return "://" in str(folder)


def as_location(folder: str | Path, through_cache: bool = False) -> str:
    """One way to write a folder or URL.

    Args:
        folder: as the user gave it.
        through_cache: a folder becomes a `file://` URL.

    >>> as_location("https://host/set/")
    'https://host/set'
    >>> as_location("./set/")
    'set'
    """
    if is_url(folder):
        return str(folder).rstrip("/")
    return Path(folder).resolve().as_uri() if through_cache else str(Path(folder))


def join(location: str, name: str) -> str:
    """The location of a file of a set. A query (an access token) stays behind the path.

    >>> join("https://host/set?token=1", "a b.tar")
    'https://host/set/a%20b.tar?token=1'
    >>> join("s3://bucket/set", "a b.tar")
    's3://bucket/set/a b.tar'
    """
    if not is_url(location):
        return str(Path(location) / name)
    if not location.startswith(("http://", "https://", "file://")):
        return f"{location.rstrip('/')}/{name}"  # keys of an object store are not quoted
    parts = urlsplit(location)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}").geturl()


def shown(location: str) -> str:
    """A location as messages name it: without password and access token.

    >>> shown("https://me:secret@host/set?token=1")
    'https://host/set'
    """
    if not is_url(location):
        return location
    parts = urlsplit(location)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()

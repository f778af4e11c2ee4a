"""What can be read, and what is said of the rest. Servers that fail: `test_fetching.py`."""

import pytest

from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.remote.fetching import Retries
from lit_detseg.data.remote.store import RefusedError, TransferError, stream
from lit_detseg.data.shards import ShardReader
from lit_detseg.structures import UserError
from tests.data.remote.servers import LOOPBACK, free_port


def received(url, options=None):
    pieces = []
    stream(url, pieces.append, timeout=10.0, options=options)
    return b"".join(pieces)


def test_a_file_arrives_as_it_is(nginx, s3, folder):
    data = (folder / "shard-000000.tar").read_bytes()
    options = {"endpoint_url": f"http://{LOOPBACK}:{s3.port}", "key": "test", "secret": "test"}
    assert received(f"{nginx.url}/set/shard-000000.tar") == data
    assert received("s3://bucket/set/shard-000000.tar", options) == data
    assert received((folder / "shard-000000.tar").as_uri()) == data


def test_a_name_with_any_character_is_found(nginx, folder):
    (folder.parent / "a b#c%.txt").write_bytes(b"here")
    assert received(f"{nginx.url}/a%20b%23c%25.txt") == b"here"


def test_what_the_receiver_raises_is_passed_on(nginx):
    def full(piece):
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        stream(f"{nginx.url}/set/index.json", full, timeout=10.0)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("nowhere://host/set", {}, "nowhere:// cannot be read: Protocol not known"),
        ("memory://set", {}, "memory:// is not a store that shards can be read from"),
        (
            "s3://bucket/set",
            {"key": "me", "username": "you"},
            "s3:// cannot be read with storage options key, username",
        ),
    ],
)
def test_what_cannot_be_a_store_is_refused_at_once(url, options, message):
    with pytest.raises(UserError, match=message):
        received(url, options)


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X-Token": "mine"}},  # of each request
        {"client_kwargs": {"headers": {"X-Token": "mine"}}},  # of the session
    ],
)
def test_options_reach_the_server(nginx, options):
    with pytest.raises(RefusedError, match="401"):
        received(f"{nginx.url}/private/set/index.json")
    assert received(f"{nginx.url}/private/set/index.json", options).startswith(b"{")


def test_no_answer_may_be_an_accident():
    with pytest.raises(TransferError, match="Connect call failed|Cannot connect"):
        received(f"http://{LOOPBACK}:{free_port()}/set")


def test_no_message_shows_a_password_or_token(tmp_path):
    port = free_port()
    cache = ShardCache(tmp_path, retries=Retries(attempts=1))
    with pytest.raises(UserError) as raised:
        ShardReader(f"http://me:secret@{LOOPBACK}:{port}/set?token=secret", cache)
    assert f"http://{LOOPBACK}:{port}/set/index.json" in str(raised.value)
    assert "secret" not in str(raised.value)

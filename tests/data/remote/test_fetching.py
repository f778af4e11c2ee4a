"""Remote sets behind servers that fail: every sample right, or one clear error, never a hang."""

import asyncio
from dataclasses import replace

import pytest

from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.remote.fetching import Retries, persist
from lit_detseg.data.remote.store import TransferError
from lit_detseg.data.shards import ShardReader
from lit_detseg.structures import UserError
from tests.data.remote.conftest import IMAGES, QUICK
from tests.data.remote.servers import LOOPBACK, free_port

FAULTS = [
    "500",
    "503",
    "429",
    "reset",
    "reset midway",
    "stall",
    "stall midway",
    "cut midway",  # the connection ends properly, before the promised length
    "shorter",  # the length that is promised is wrong, too
    "longer",
    "corrupt",
]


def values(reader):
    """The number painted on each image, and the one in its record."""
    pairs = [reader.read(sample) for sample in range(len(reader))]
    return [(int(image[0, 0, 0]), int(record.image_id)) for image, record in pairs]


RIGHT = [(number, number) for number in range(IMAGES)]


def read_all(remote, tmp_path, **options):
    _, url, its_own = remote
    return values(ShardReader(url, ShardCache(tmp_path / "cache", **its_own | options)))


def test_a_remote_set_is_read_like_a_folder(remote, folder, tmp_path):
    _, url, options = remote
    there, here = ShardReader(url, ShardCache(tmp_path, **options)), ShardReader(folder)
    assert values(there) == values(here) == RIGHT
    assert there.sha256 == here.sha256
    assert there.keys.tolist() == here.keys.tolist()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_shard_is_got_over(http, tmp_path, fault):
    http[0].once("shard-000001.tar", fault)
    assert read_all(http, tmp_path) == RIGHT
    assert sum("shard-000001.tar" in path for path in http[0].asked) == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_index_is_got_over(http, tmp_path, fault):
    http[0].once("index.json", fault)
    assert read_all(http, tmp_path) == RIGHT


@pytest.mark.parametrize("fault", ["503", "reset midway", "stall midway", "shorter", "corrupt"])
def test_a_fault_of_s3_is_got_over(s3_set, tmp_path, fault):
    s3_set[0].once("shard-000001.tar", fault).once("index.json", fault)
    assert read_all(s3_set, tmp_path) == RIGHT
    assert sum("shard-000001.tar" in path for path in s3_set[0].asked) == 2


def test_as_many_faults_as_attempts_but_one_are_got_over(remote, tmp_path):
    remote[0].once("shard-000000.tar", "corrupt", "503", "reset midway")
    remote[0].once("shard-000002.tar", "shorter", "corrupt", "500")
    assert read_all(remote, tmp_path) == RIGHT


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("503", "503|Harm|Service"),
        ("corrupt", "damaged on its way, or not the file that was packed|Checksum"),
        ("shorter", "5120 bytes came, the index says 10240|Checksum"),  # S3 has its own checksums
        ("longer", "more than the 10240 bytes came"),
        ("stall midway", "no byte came in time"),
    ],
)
def test_a_lasting_fault_ends_in_one_error_that_names_the_shard(remote, tmp_path, fault, reason):
    remote[0].always("shard-000001.tar", fault)
    twice = replace(remote[2]["retries"], attempts=2)
    message = rf"set/shard-000001.tar could not be fetched: 2 attempts in \d+ s .* {reason}"
    with pytest.raises(UserError, match=message):
        read_all(remote, tmp_path, retries=twice)
    assert sum("shard-000001.tar" in path for path in remote[0].asked) == 2
    assert not list((tmp_path / "cache").glob("*.part"))


@pytest.mark.parametrize("status", ["404", "403"])
def test_what_is_refused_is_asked_for_once(remote, tmp_path, status):
    remote[0].always("shard-000001.tar", status)
    with pytest.raises(UserError, match=r"shard-000001.tar cannot be fetched: .*(404|403|denied)"):
        read_all(remote, tmp_path)
    assert sum("shard-000001.tar" in path for path in remote[0].asked) == 1


def test_a_folder_without_an_index_is_no_shard_set(nginx, tmp_path):
    with pytest.raises(UserError, match=r"/elsewhere is not a shard set .* no such file \(404\)"):
        ShardReader(f"{nginx.url}/elsewhere", ShardCache(tmp_path, retries=QUICK))


def test_answers_of_a_real_server(nginx, tmp_path):
    cache = ShardCache(tmp_path, retries=QUICK)
    with pytest.raises(UserError, match=r"busy/set/index.json could not be fetched: 4 .* 503 Serv"):
        ShardReader(f"{nginx.url}/busy/set", cache)
    with pytest.raises(UserError, match=r"closed/set is not a shard set .* 403 Forbidden"):
        ShardReader(f"{nginx.url}/closed/set", cache)
    assert nginx.requests("/busy/set/index.json") == 4
    assert nginx.requests("/closed/set/index.json") == 1


def test_nothing_listens(tmp_path):
    url = f"http://{LOOPBACK}:{free_port()}/set"
    with pytest.raises(UserError, match=f"{url}/index.json could not be fetched: 2 attempts"):
        ShardReader(url, ShardCache(tmp_path, retries=Retries(2, 2.0, 0.01)))


def test_within_a_running_loop_as_in_a_notebook(nginx, tmp_path):
    async def cell():
        return values(ShardReader(f"{nginx.url}/set", ShardCache(tmp_path, retries=QUICK)))

    assert asyncio.run(cell()) == RIGHT


def test_delays_double_up_to_the_longest_and_are_spread():
    retries = Retries(first_delay=1.0, longest_delay=4.0)
    for attempt, whole in enumerate([1, 2, 4, 4, 4]):
        delays = {retries.delay(attempt, f"https://host/{n}") for n in range(20)}
        assert all(whole / 2 <= delay < whole for delay in delays)
        assert len(delays) == 20


def test_who_waits_is_told_why_after_a_few_failures(caplog):
    def fail():
        raise TransferError("nobody answers")

    with pytest.raises(UserError, match="5 attempts"):
        persist("http://host/a.tar", fail, Retries(attempts=5, first_delay=0, longest_delay=0))

    assert [record.getMessage() for record in caplog.records] == [
        "http://host/a.tar: nobody answers. 2 more attempts will follow."
    ]

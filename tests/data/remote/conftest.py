"""A small shard set behind a web server and behind an S3 server."""

from dataclasses import replace

import pytest

from lit_detseg.data.remote.fetching import Retries
from tests.data.remote.servers import LOOPBACK, S3_KEYS, FaultyProxy, Nginx, S3Server
from tests.data.shard_sets import write_numbered

IMAGES = 12  # in 3 shards
QUICK = Retries(attempts=4, timeout=2.0, first_delay=0.01, longest_delay=0.05)
QUICK_S3 = replace(QUICK, timeout=3.0)  # a client of S3 takes a while to make on a busy machine


@pytest.fixture(scope="session", autouse=True)
def _no_proxy_between():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", LOOPBACK)
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The set, as packed."""
    return write_numbered(tmp_path_factory.mktemp("served") / "set", IMAGES)


@pytest.fixture(scope="session")
def nginx(folder, tmp_path_factory):
    server = Nginx(folder.parent, tmp_path_factory.mktemp("nginx"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def s3(folder, tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("moto"))
    server.upload(folder)
    yield server
    server.close()


@pytest.fixture
def http_proxy(nginx):
    proxy = FaultyProxy(nginx.port)
    yield proxy
    proxy.close()


@pytest.fixture
def s3_proxy(s3):
    proxy = FaultyProxy(s3.port)
    yield proxy
    proxy.close()


@pytest.fixture
def http(http_proxy):
    """A proxy, the set's URL behind it, and the options of a cache."""
    return http_proxy, f"{http_proxy.url}/set", {"retries": QUICK}


@pytest.fixture
def s3_set(s3_proxy):
    """Likewise, of the S3 server."""
    storage_options = {"endpoint_url": s3_proxy.url, **S3_KEYS}
    options = {"retries": QUICK_S3, "storage_options": storage_options}
    return s3_proxy, "s3://bucket/set", options


@pytest.fixture(params=["http", "s3_set"])
def remote(request):
    """Either."""
    return request.getfixturevalue(request.param)

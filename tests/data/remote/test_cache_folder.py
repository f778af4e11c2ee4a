"""Where a cache is, and who may use it."""

import os
import stat

import pytest

from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.remote.cache_folder import default_folder
from lit_detseg.structures import UserError


@pytest.fixture
def nothing_set(monkeypatch):
    for name in ("LIT_DETSEG_CACHE", "SLURM_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_folder_is_the_users_own(tmp_path):
    cache = ShardCache(tmp_path / "of" / "mine")
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    with pytest.raises(UserError, match="can be written to by others"):
        ShardCache(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/cache cannot be made \(Not a directory\)"):
        ShardCache(tmp_path / "file" / "cache")


def test_the_default_folder_follows_the_environment(nothing_set, tmp_path):
    name = f"lit_detseg_cache_{os.getuid()}"
    nothing_set.setattr("tempfile.tempdir", None)
    nothing_set.setenv("TMPDIR", str(tmp_path))
    assert default_folder() == tmp_path / name
    nothing_set.setenv("SLURM_TMPDIR", "/scratch/job")
    assert str(default_folder()) == f"/scratch/job/{name}"
    nothing_set.setenv("LIT_DETSEG_CACHE", "/fast/cache")
    assert str(default_folder()) == "/fast/cache"

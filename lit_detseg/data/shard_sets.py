"""The shard sets behind each word of the Trainer: where they are, and what fetches them ahead."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from torch import distributed

from lit_detseg.data.order import Order
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.remote.fetcher import Fetcher
from lit_detseg.data.remote.urls import as_location, is_url
from lit_detseg.data.shards import ShardReader, agreed_label_map
from lit_detseg.structures import LabelMap, UserError

Split = Literal["train", "val", "test", "predict"]
SPLITS: tuple[Split, ...] = ("train", "val", "test", "predict")
# The sets that a word of the Trainer and of the command line reads.
SPLITS_OF: dict[str | None, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("predict",),
}
DEFAULT_CACHE_GB = 50.0
NO_PROPOSALS = "No proposals are read: set `--data.proposals=NAME`."
WINDOWS_IN_CACHE = 2  # of the training order: the one being read and the next


class ShardSets:
    """Opens the sets of each split when they are first asked for.

    Args:
        folders: of each split; folders or URLs.
        cache: for URLs, see `shard_cache`.
        cache_local: read folders through the cache too.
        proposals: name of the proposals that are read with the images, if any are.
        max_proposals: the first so many of each image; not given: all.

    Raises:
        UserError: when the proposals are limited, but none are asked for.
    """

    def __init__(
        self,
        folders: Mapping[Split, Sequence[str]],
        cache: ShardCache | None,
        cache_local: bool,
        proposals: str | None = None,
        max_proposals: int | None = None,
    ) -> None:
        if max_proposals is not None and proposals is None:
            raise UserError(
                f"max_proposals = {max_proposals}, but no proposals are read: set "
                "`--data.proposals=NAME` too, or leave both out."
            )
        self.folders = folders
        self._cache = cache
        self._cache_local = cache_local
        self._proposals = proposals
        self._max_proposals = max_proposals
        self._readers: dict[Split, ShardReader] = {}
        self._proposal_readers: dict[Split, ProposalReader] = {}
        self._fetcher: Fetcher | None = None

    def reader(self, split: Split) -> ShardReader:
        """Images and records of a split.

        Raises:
            UserError: when no shards were given for it, or they cannot be read.
        """
        if split not in self._readers:
            folders = self.folders[split]
            if not folders:
                raise UserError(f"No {split} shards were given. Set `--data.{split}=FOLDER`.")
            self._readers[split] = ShardReader(folders, self._cache, self._cache_local)
        return self._readers[split]

    def proposals(self, split: Split) -> ProposalReader | None:
        """The proposals of a split's images; None where none were asked for.

        Raises:
            UserError: when a set has none of that name, or they are of other shards.
        """
        if self._proposals is None:
            return None
        if split not in self._proposal_readers:
            self._proposal_readers[split] = ProposalReader(
                self.reader(split), self._proposals, self._max_proposals
            )
        return self._proposal_readers[split]

    def num_proposals(self, split: Split) -> dict[str, int]:
        """How many proposals of each image of a split are read, by the image's key.

        Raises:
            UserError: as `proposals`, and when none were asked for.
        """
        proposals = self.proposals(split)
        if proposals is None:
            raise UserError(NO_PROPOSALS)
        return dict(zip(self.reader(split).keys.tolist(), proposals.counts.tolist(), strict=True))

    def regions(
        self, split: Split, train_on_difficult: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The proposals of each image, and boxes and labels of its objects that are learned from.

        For statistics of a whole set: (P, 4) and (N, 4) float32 XYXY in pixels of the original
        image, and (N,) int64, image by image in stored order.

        Args:
            split: whose images.
            train_on_difficult: whether objects marked difficult are among them.

        Raises:
            UserError: as `proposals`, and when none were asked for.
        """
        reader, proposals = self.reader(split), self.proposals(split)
        if proposals is None:
            raise UserError(NO_PROPOSALS)
        for sample in range(len(reader)):
            items = [
                item
                for item in reader.record(sample, masks=False).objects
                if not item.is_crowd and (train_on_difficult or not item.is_difficult)
            ]
            boxes = np.array([item.box for item in items], dtype=np.float32).reshape(-1, 4)
            labels = np.array([item.label for item in items], dtype=np.int64)
            yield proposals.boxes(sample).copy(), boxes, labels

    def label_map(self, word: str | None) -> LabelMap:
        """The classes that the sets of a word have in common; of all sets, without a word.

        Raises:
            UserError: when no set is given, or two differ, with the difference.
        """
        given = [split for split in SPLITS_OF.get(word, SPLITS) if self.folders[split]]
        if not given:
            names = ", ".join(f"data.{split}" for split in SPLITS_OF.get(word, SPLITS))
            raise UserError(f"No shards were given. Set {names}.")
        return agreed_label_map({f"data.{s}": self.reader(s).label_map for s in given})

    def require_room(self, split: Split, shuffle_window: int) -> None:
        """Refuse a cache that would fetch the same training shards again and again."""
        shards, proposals = WINDOWS_IN_CACHE * shuffle_window, self.proposals(split)
        needed = self.reader(split).remote_bytes(shards)
        needed += 0 if proposals is None else proposals.remote_bytes(shards)
        if needed and self._cache is not None:
            what = f"The largest {WINDOWS_IN_CACHE} x {shuffle_window} shards of data.{split}"
            self._cache.require(needed, what)

    def require_agreement(self, word: str | None) -> None:
        """Read the indexes of a word's sets; find out whether all ranks have read the same ones.

        Raises:
            UserError: when a set or its proposals cannot be read; on every rank, when one was
                replaced while the run started.
        """
        splits = [split for split in SPLITS_OF.get(word, SPLITS) if self.folders[split]]
        mine = {split: self.identity(split) for split in splits}
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        of_ranks: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(of_ranks, mine)
        for split in splits:
            if len({of_rank[split] for of_rank in of_ranks}) > 1:
                raise UserError(
                    f"The ranks have read different indexes of data.{split}: the set was replaced "
                    "while the run started, or nodes see different folders. Start it again."
                )

    def identity(self, split: Split) -> tuple[str, ...]:
        """What tells the split's sets, and the proposals that are read with them, from others."""
        proposals, limit = self.proposals(split), self._max_proposals
        limited = () if limit is None else (f"max_proposals={limit}",)
        of_proposals = () if proposals is None else proposals.sha256 + limited
        return self.reader(split).sha256 + of_proposals

    def fetched_ahead(self, split: Split, order: Order, trainer: Any, read_ahead: int) -> Order:
        """The same order; where shards are remote, one process per node fetches them ahead of it.

        Args:
            split: whose samples `order` names.
            order: what is read.
            trainer: a `lightning.Trainer`, or None outside of one.
            read_ahead: steps that a loader asks for before they are read.
        """
        if self._cache is None or (trainer is not None and trainer.local_rank):
            return order
        ranks_here: Sequence[int] = (0,)
        if trainer is not None:
            first = trainer.global_rank
            ranks_here = range(first, min(first + trainer.num_devices, trainer.world_size))
        if self._fetcher is None:
            self._fetcher = Fetcher(self._cache)
        ranks = 1 if trainer is None else trainer.world_size
        proposals = self.proposals(split)
        companions = () if proposals is None else proposals.files
        return self._fetcher.follow(
            self.reader(split), order, ranks_here, ranks, read_ahead, companions
        )

    def close(self) -> None:
        """End the process that fetches ahead."""
        if self._fetcher is not None:
            self._fetcher.close()
            self._fetcher = None


def shard_sets(
    given: Mapping[Split, str | list[str] | None],
    cache_local: bool = False,
    proposals: str | None = None,
    max_proposals: int | None = None,
    **cache_options: Any,
) -> ShardSets:
    """The sets of all splits.

    Args:
        given: of each split nothing, a folder or URL, or several.
        cache_local: read folders through the cache too.
        proposals: as in `ShardSets`.
        max_proposals: likewise.
        cache_options: of `shard_cache`.
    """
    folders = {
        split: [names] if isinstance(names, str) else list(names or [])
        for split, names in given.items()
    }
    every = [folder for of_split in folders.values() for folder in of_split]
    cache = shard_cache(every, cache_local=cache_local, **cache_options)
    return ShardSets(folders, cache, cache_local, proposals, max_proposals)


def shard_cache(
    folders: Sequence[str],
    cache_dir: str | None = None,
    cache_gb: float = DEFAULT_CACHE_GB,
    cache_local: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> ShardCache | None:
    """The node's cache, if any of some folders and URLs is read through it.

    Args:
        folders: of all splits.
        cache_dir: on the node's own disk; see `ShardCache`.
        cache_gb: 10^9 bytes that it may hold.
        cache_local: read folders through the cache too.
        storage_options: of the remote store; see `ShardCache`.

    Raises:
        UserError: when the size is none, or the folder cannot be used.
    """
    if cache_gb <= 0:
        raise UserError(f"cache_gb = {cache_gb} must be above 0.")
    if not any(is_url(as_location(folder, cache_local)) for folder in folders):
        return None
    return ShardCache(cache_dir, int(cache_gb * 10**9), storage_options=storage_options)

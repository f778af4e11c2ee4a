"""The region proposals beside a shard set: of these shards, and as they were written."""

from collections.abc import Iterator
from pathlib import Path

from lit_detseg.data.index import ShardIndex, index_sha256
from lit_detseg.data.proposals.store import FOLDER, ProposalIndex, proposal_names
from lit_detseg.data.verification.files import content_problems
from lit_detseg.data.verification.findings import Finding, Kind
from lit_detseg.structures import UserError


def proposal_problems(shards: str, index: ShardIndex) -> Iterator[Finding]:
    """What is wrong with all proposals of a set.

    Args:
        shards: folder of the set, as the user names it.
        index: of the set.
    """
    for name in proposal_names(Path(shards)):
        folder = f"{FOLDER}/{name}"
        try:
            stored = ProposalIndex.read(Path(shards) / folder)
        except UserError as error:
            yield Finding(Kind.UNREADABLE_PROPOSALS, str(error), shards, folder)
            continue
        try:
            stored.check_fits(index_sha256(Path(shards)), index.shard_lengths, folder)
        except UserError as error:
            yield Finding(Kind.STALE_PROPOSALS, str(error), shards, folder)
        for file in stored.files:
            place = f"{folder}/{file.name}"
            try:
                for problem in content_problems(Path(shards) / place, file):
                    yield Finding.at(problem, shards, place)
            except OSError as error:
                detail = f"it cannot be read: {error.strerror}"
                yield Finding(Kind.MISSING_FILE, detail, shards, place)

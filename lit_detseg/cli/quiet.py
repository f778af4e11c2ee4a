"""Keep what libraries say about themselves out of what we say about the run."""

import logging
import warnings

# Said at every start, true of every run, of no use to the reader.
CHATTER = (
    "💡 Tip",
    "GPU available",
    "TPU available",
    "HPU available",
    "Seed set to",
    "Restoring states from",
    "Restored all states from",
    "Loaded model weights from",
)
WARNINGS = (
    r".*isinstance\(treespec, LeafSpec\).*",  # Lightning, about torch
    r".*does not have many workers.*",  # small machines have few cores
    r".*`weights_only` was not set.*",  # checkpoints are read with weights_only by us
    r".*callbacks used to create the checkpoint need to be provided.*",  # validate writes none
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*Checkpoint directory .* exists and is not empty.*",  # a continued run's is
)


def quiet_libraries() -> None:
    """Drop Lightning's greetings and warnings that a user can do nothing about."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).addFilter(_is_news)
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(CHATTER)

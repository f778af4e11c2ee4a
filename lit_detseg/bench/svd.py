"""What truncated SVD saves: fc6 and fc7 of VGG-16 on many RoIs, full and in thinner layers.

Both run in one process, in turns: the ratio of the two is the result. The layers have random
weights, which take as long as trained ones.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from lit_detseg.errors import UserError
from lit_detseg.models import truncated_svd
from lit_detseg.models.backbones.vgg import VGG16
from lit_detseg.models.heads.box import BoxHead


@dataclass(frozen=True)
class Times:
    """Milliseconds for all RoIs of an image, medians over the rounds."""

    full: float
    factorised: float

    @property
    def speed_up(self) -> float:
        """How many times faster the thinner layers are."""
        return self.full / self.factorised

    def to_json(self) -> dict[str, float]:
        """For programs."""
        return {**asdict(self), "speed_up": self.speed_up}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lit-detseg bench svd`."""
    parser.add_argument("--rois", type=int, default=300, help="RoIs of an image (paper: 2000)")
    parser.add_argument(
        "--ranks",
        type=int,
        nargs=2,
        default=(1024, 256),
        metavar=("FC6", "FC7"),
        help="singular values kept (default: 1024 256, the paper's)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each of the two")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(options: argparse.Namespace) -> None:
    """Measure `bench svd` and print.

    Raises:
        UserError: when the options make no measurement.
    """
    if options.rois < 1 or options.rounds < 1:
        raise UserError(
            f"--rois {options.rois} --rounds {options.rounds}: give at least 1 of each."
        )
    times = measure(VGG16(), options.rois, tuple(options.ranks), options.rounds)
    if options.json:
        print(json.dumps(times.to_json()))
        return
    table = Table(title=f"fc6, fc7 and the last layers of VGG-16 on {options.rois} RoIs")
    for column in ("layers", "ms", "times faster"):
        table.add_column(column, justify="left" if column == "layers" else "right")
    table.add_row("full", f"{times.full:.0f}", "1")
    fc6, fc7 = options.ranks
    table.add_row(f"ranks {fc6} and {fc7}", f"{times.factorised:.0f}", f"{times.speed_up:.2f}")
    Console().print(table)


@torch.inference_mode()
def measure(backbone: VGG16, rois: int, ranks: tuple[int, ...], rounds: int) -> Times:
    """Time a box head of VOC's 20 classes, full and factorised, in turns.

    Args:
        backbone: brings the layers.
        rois: pooled regions of one image.
        ranks: singular values kept of fc6 and fc7.
        rounds: turns of each, after one that does not count.
    """
    assert backbone.head_layers is not None
    layers = backbone.head_layers
    thin_layers = nn.Sequential(*_thin(layers.layers, ranks))
    full = BoxHead(20, layers).eval()
    thin = BoxHead(20, replace(layers, layers=thin_layers)).eval()
    pooled = torch.rand(rois, backbone.out_channels, 7, 7)
    turns = track(range(rounds + 1), "full and factorised, in turns", transient=True)
    seconds = [(_seconds(full, pooled), _seconds(thin, pooled)) for _ in turns]
    of_full, of_thin = zip(*seconds[1:], strict=True)
    return Times(1000 * statistics.median(of_full), 1000 * statistics.median(of_thin))


def _thin(layers: nn.Module, ranks: tuple[int, ...]) -> Iterator[nn.Module]:
    left = iter(ranks)
    for layer in layers.children():
        if isinstance(layer, nn.Linear):
            yield from truncated_svd.thin_layers(layer, next(left))
        else:
            yield layer


def _seconds(head: BoxHead, pooled: torch.Tensor) -> float:
    start = time.perf_counter()
    head(pooled)
    return time.perf_counter() - start

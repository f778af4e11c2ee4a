"""What the `weights` of a backbone may say."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from lit_detseg.models.normalization import CAFFE, TORCHVISION, PixelStatistics
from lit_detseg.models.weights.files import SUFFIXES, load_weights, read_weights
from lit_detseg.models.weights.torchvision import torchvision_weights
from lit_detseg.structures import UserError

NONE = "none"  # start from random numbers
FROM_CHECKPOINT = "from_checkpoint"  # built as if pretrained, filled by a checkpoint loaded later


class Pretrained(NamedTuple):
    """Weights of a classifier, and how its images were normalised."""

    values: dict[str, Tensor] | None  # None: nothing to load now
    source: str  # for messages
    statistics: PixelStatistics

    def load_into(self, network: nn.Module, ignored_prefixes: tuple[str, ...] = ()) -> None:
        """Fill all of the network, if there is something to load."""
        if self.values is not None:
            load_weights(network, self.values, self.source, ignored_prefixes)


def find_pretrained(network: str, weights: str, pixel_statistics: str = "auto") -> Pretrained:
    """Read what `weights` names.

    Args:
        network: torchvision's name of the architecture, such as `resnet50`.
        weights: `none`; `from_checkpoint`, for a network whose every weight will be loaded later;
            the path of a file; or a name that torchvision gives to weights, such as `DEFAULT`.
        pixel_statistics: `torchvision` (RGB / 255, mean and deviation of ImageNet), `caffe` (BGR
            minus 104, 117, 123), or `auto`: what torchvision documents for weights it names, Caffe
            for .npz files, which hold converted Caffe models, torchvision for all else.

    Raises:
        UserError: when the weights cannot be found or read, or the statistics are neither.
    """
    values: dict[str, Tensor] | None = None
    source, natural = weights, TORCHVISION
    if _is_file(weights):
        values = read_weights(Path(weights).expanduser())
        natural = CAFFE if Path(weights).suffix == ".npz" else TORCHVISION
    elif weights not in (NONE, FROM_CHECKPOINT):
        values, natural = torchvision_weights(network, weights)
        source = f"{weights} of torchvision's {network}"
    return Pretrained(values, source, _statistics(pixel_statistics, natural))


def _is_file(weights: str) -> bool:
    return "/" in weights or Path(weights).suffix in SUFFIXES or Path(weights).is_file()


def _statistics(name: str, natural: PixelStatistics) -> PixelStatistics:
    match name:
        case "auto":
            return natural
        case "torchvision":
            return TORCHVISION
        case "caffe":
            return CAFFE
    raise UserError(f'pixel_statistics = "{name}": use "auto", "torchvision" or "caffe".')

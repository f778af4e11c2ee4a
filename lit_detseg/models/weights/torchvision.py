"""Weights by the name that torchvision gives them, from its cache or from the internet."""

import difflib
import http.client
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import WeightsEnum, get_model_weights, list_models

from lit_detseg.models.normalization import PixelStatistics
from lit_detseg.models.weights.files import read_weights
from lit_detseg.structures import UserError

logger = logging.getLogger(__name__)

SILENCE = 10.0  # seconds without a byte after which a download is given up


def torchvision_weights(network: str, name: str) -> tuple[dict[str, Tensor], PixelStatistics]:
    """Weights of a torchvision classifier, and the normalisation they were trained with.

    Args:
        network: torchvision's name of the architecture, such as `resnet50`.
        name: `ResNet50_Weights.IMAGENET1K_V2`, `IMAGENET1K_V2` or `DEFAULT`.

    Raises:
        UserError: when there are no such weights, or they are neither cached nor reachable.
    """
    values = named_weights(network, name)
    transforms = _entry(network, name).transforms()
    mean = tuple(255 * value for value in transforms.mean)
    std = tuple(255 * value for value in transforms.std)
    return values, PixelStatistics(mean, std)


def named_weights(network: str, name: str) -> dict[str, Tensor]:
    """The tensors that torchvision calls by a name, of a classifier or a detector.

    Args:
        network: torchvision's name of the architecture, such as `maskrcnn_resnet50_fpn`.
        name: as in `torchvision_weights`.

    Raises:
        UserError: when there are no such weights, or they are neither cached nor reachable.
    """
    entry = _entry(network, name)
    path = Path(torch.hub.get_dir(), "checkpoints", Path(entry.url).name)
    if not path.exists():
        download(entry.url, path)
    return read_weights(path)


def download(url: str, path: Path) -> None:
    """Fetch a file whose name ends with its checksum, `name-0123abcd.pth`, as torchvision's do.

    The file appears complete or not at all, also when several processes ask for it at once.

    Raises:
        UserError: when it cannot be fetched; names the file, and the folder to put it in.
    """
    logger.info("Downloading %s to %s.", path.name, path.parent)
    checksum = re.search(r"-([0-9a-f]{8,})\.", path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _given_up_after(SILENCE):
            torch.hub.download_url_to_file(
                url, str(path), hash_prefix=checksum and checksum[1], progress=False
            )
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise UserError(
            f"The weights {path.name} are not in {path.parent} and cannot be downloaded: {error}. "
            f"Without internet, copy {path.name} into {path.parent} from a machine that has it, "
            "or give the path of a file instead."
        ) from error


def _entry(network: str, name: str) -> WeightsEnum:
    if network not in list_models():
        raise UserError(
            f'Torchvision has no weights of {network}, so none named "{name}". Give "none", or a '
            "file that exists, such as Caffe's converted to .npz."
        )
    known = get_model_weights(network)
    short = name.removeprefix(f"{known.__name__}.")
    if short in known.__members__:
        return known[short]
    names = list(known.__members__)
    nearest = difflib.get_close_matches(short, names, n=1, cutoff=0)[0]
    raise UserError(
        f'{network} has no weights "{name}". Nearest: "{nearest}"; torchvision has '
        f'{", ".join(names)}. Or give "none", or a file that exists.'
    )


@contextmanager
def _given_up_after(seconds: float) -> Iterator[None]:
    """torch.hub's download waits for ever; this bounds each of its waits for the network."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

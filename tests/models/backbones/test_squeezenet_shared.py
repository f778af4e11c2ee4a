"""The decoded ImageNet weights, through our loader and our normalisation, see what is there."""

import pytest
import torch
from PIL import Image
from torchvision.models import squeezenet1_0
from torchvision.transforms.v2 import functional as F

from lit_detseg.models.backbones import build_backbone
from lit_detseg.models.normalization import PixelNormalization
from lit_detseg.models.weights.pretrained import find_pretrained
from lit_detseg.structures import Images
from tests.conftest import SHARED

WEIGHTS = str(SHARED / "data/weights/squeezenet1_0/squeezenet1_0_imagenet.npz")
DOG, HORSES = (SHARED / f"data/weights/images/{name}.jpg" for name in ("dog", "horses"))
SLED_DOGS = {248, 249, 250, 537}  # ImageNet: husky, malamute, Siberian husky, dogsled


def read(path, size):
    pixels = F.pil_to_tensor(Image.open(path).convert("RGB"))
    return Images(F.resize(pixels, [size, size])[None], torch.tensor([[size, size]]))


def best_classes(pixel_statistics, count):
    pretrained = find_pretrained("squeezenet1_0", WEIGHTS, pixel_statistics)
    network = squeezenet1_0().eval()
    pretrained.load_into(network)
    with torch.no_grad():
        logits = network(PixelNormalization(*pretrained.statistics)(read(DOG, 227)))
    return logits[0].topk(count).indices.tolist()


def test_a_photo_of_a_malamute_is_a_sled_dog():
    assert set(best_classes("auto", count=2)) <= SLED_DOGS


def test_it_is_not_when_pixels_are_normalised_as_for_torchvision():
    assert best_classes("torchvision", count=1)[0] not in SLED_DOGS


def test_the_backbone_holds_every_weight_of_the_file_but_the_classifier():
    stages = build_backbone("squeezenet1_0", WEIGHTS).stages.state_dict()
    values = find_pretrained("squeezenet1_0", WEIGHTS).values

    held = {f"features.{name.partition('.')[2]}": value for name, value in stages.items()}

    assert held.keys() | {"classifier.1.weight", "classifier.1.bias"} == values.keys()
    assert all(value.equal(values[name]) for name, value in held.items())


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_0_fpn"])
def test_a_backbone_takes_a_few_large_steps_without_trouble(name):
    """Learning rate 0.01 is what made training diverge without normalised features."""
    torch.manual_seed(0)
    backbone = build_backbone(name, WEIGHTS)
    images = read(HORSES, 96)
    targets = [torch.randn_like(features) for features in backbone(images)]
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], 0.01, 0.9)

    errors = []
    for _ in range(6):
        pairs = zip(backbone(images), targets, strict=True)
        loss = torch.stack(
            [(features - target).square().mean() for features, target in pairs]
        ).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())

    assert errors[-1] < errors[0]

"""SPP-net: one pass over the image at each scale, a pyramid for each window."""

import pytest
import torch
from torch.nn import functional as F

from lit_detseg.models.detectors.spp_net import bins_of, pyramid_layers, resize
from lit_detseg.ops.pooling import pool_pyramid, window_cells
from lit_detseg.structures import Images
from tests.tiny_detection import make_images, make_target, tiny_spp_net

BOXES = [torch.tensor([[2.0, 2, 50, 60], [44, 8, 90, 48]]), torch.tensor([[5.0, 5, 20, 40]])]
SIZES = [(64, 96), (50, 70)]


def test_features_are_a_pyramid_over_the_map_of_the_resized_image():
    """The second image at scale 64: 50 x 70 becomes 64 x 90 (89.6 rounded)."""
    model, images = tiny_spp_net(scales=(64,)).eval(), make_images(SIZES)
    features = model.region_features(images, BOXES)

    pixels = images.pixels[1:, :, :50, :70].float() / 255  # the tiny network's normalisation
    resized = F.interpolate(pixels, (64, 90), mode="bilinear", align_corners=False)
    feature = model.backbone.extract(resized)[-1][0]
    windows = BOXES[1] * torch.tensor([90 / 70, 64 / 50, 90 / 70, 64 / 50])
    cells = window_cells(windows, (8, 12), stride=8, first_middle=4.0)
    torch.testing.assert_close(features[1], pool_pyramid(feature, cells, (2, 1)))


def test_each_window_is_seen_at_the_scale_of_its_own():
    """Shorter side 64. A window of 224 x 224 is not resized, one of 100 is wanted at 143."""
    model = tiny_spp_net(scales=(64, 128)).eval()
    images = make_images([(300, 310)])
    boxes = [torch.tensor([[0.0, 0, 300, 310], [0, 0, 100, 100]])]
    small, large = (
        tiny_spp_net(scales=(side,)).eval().region_features(images, boxes)[0] for side in (64, 128)
    )
    # Factors 64 / 300 and 128 / 300: both windows become too small, so the larger scale is nearer.
    assert model.region_features(images, boxes)[0].equal(large)
    assert not large.equal(small)

    model.scales = (300, 900)
    at_300, at_900 = (
        tiny_spp_net(scales=(side,)).eval().region_features(images, boxes)[0] for side in (300, 900)
    )
    (mixed,) = model.region_features(images, boxes)
    assert mixed[0].equal(at_300[0])  # 300 x 310 is near 224 x 224 as it is
    assert mixed[1].equal(
        at_900[1]
    )  # 100 x 100 is nearer to it as 300 x 300 (39,824 against 40,176)


def test_neither_padding_nor_neighbours_are_seen():
    model, images = tiny_spp_net().eval(), make_images(SIZES)
    alone = Images(images.pixels[1:, :, :50, :70], images.sizes[1:])
    together = model.region_features(images, BOXES)[1]
    torch.testing.assert_close(model.region_features(alone, BOXES[1:])[0], together)


def test_the_convolutions_never_learn():
    model = tiny_spp_net()
    learns = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learns == {"layers", "class_logits"}


def test_in_training_the_scale_is_drawn_from_the_image_s_seed():
    model = tiny_spp_net().eval()
    boxes = [torch.tensor([[4.0, 4, 40, 40]]).repeat(20, 1)]

    def features(seed):
        return model.training_features(make_images([(64, 96)], seeds=[seed]), boxes)[0]

    assert features(1).equal(features(1))
    assert len(features(1).unique(dim=0)) == 2  # both scales occur
    assert not features(1).equal(features(2))


def test_an_image_is_resized_to_whole_pixels_and_its_boxes_with_it():
    resized, stretch = resize(torch.randn(3, 50, 70), factor=64 / 50)
    assert resized.shape == (3, 64, 90)
    assert stretch.tolist() == pytest.approx([90 / 70, 64 / 50, 90 / 70, 64 / 50])


def test_the_paper_s_pyramid_has_50_bins():
    assert bins_of((6, 3, 2, 1)) == 36 + 9 + 4 + 1


def test_new_layers_start_as_in_the_program():
    layers = pyramid_layers(channels=16, levels=(2, 1), width=200)
    assert layers.fc6.weight.shape == (200, 16 * 5)
    assert layers.fc6.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert layers.fc7.bias.eq(1).all()


def test_what_decides_on_features_can_be_written_down():
    assert tiny_spp_net().feature_settings() == {
        "scales": [48, 64],
        "levels": [2, 1],
        "first_middle": 4.0,
    }


def test_it_learns_what_a_window_shows():
    """White squares on black: the loss falls, though the convolutions are random and stay so."""
    model = tiny_spp_net().eval()  # no dropout
    pixels = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    pixels[:, :, 20:44, 32:56] = 255
    boxes = torch.tensor([[x, y, x + 24, y + 24] for x in range(0, 72, 8) for y in range(4, 40, 8)])
    images = Images(pixels, torch.tensor([[64, 96]]), proposals=[boxes.float()])
    targets = [make_target([[32, 20, 56, 44]], [1])]
    optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(images, targets)["classification"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < losses[0] / 3

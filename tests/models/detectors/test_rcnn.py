"""R-CNN: features of a region are those of its crop, whatever else is in the batch."""

import torch
from torchvision.ops import box_iou

from lit_detseg.ops.warping import warp_regions
from lit_detseg.structures import Images
from tests.tiny_detection import make_images, make_target, tiny_rcnn

BOXES = [
    torch.tensor([[2.0, 2, 32, 30], [44, 8, 90, 48], [0, 0, 96, 64]]),
    torch.zeros(0, 4),
    torch.tensor([[5.0, 5, 20, 40], [60, 30, 70, 50]]),
]
SIZES = [(64, 96), (50, 70), (60, 80)]


def test_features_of_a_region_are_what_the_network_makes_of_its_crop():
    model, images = tiny_rcnn().eval(), make_images(SIZES)
    features = model.region_features(images, BOXES)
    assert [len(of_image) for of_image in features] == [3, 0, 2]

    pixels = images.pixels[2, :, :60, :80].float() / 255  # the tiny network's normalisation
    crops = warp_regions(pixels, BOXES[2], side=24, context=2)
    torch.testing.assert_close(features[2], model.network(crops))


def test_the_number_of_crops_at_a_time_does_not_matter():
    images = make_images(SIZES)
    many = tiny_rcnn().eval().region_features(images, BOXES)
    few = tiny_rcnn(max_crops=2).eval().region_features(images, BOXES)
    for first, second in zip(many, few, strict=True):
        torch.testing.assert_close(first, second)


def test_neither_padding_nor_neighbours_are_seen():
    model, images = tiny_rcnn().eval(), make_images(SIZES)
    alone = Images(images.pixels[2:, :, :60, :80], images.sizes[2:])
    together = model.region_features(images, BOXES)[2]
    torch.testing.assert_close(model.region_features(alone, BOXES[2:])[0], together)


def test_everything_learns():
    model = tiny_rcnn()
    assert all(parameter.requires_grad for parameter in model.parameters())
    images = make_images([(64, 96)])._replace(proposals=[BOXES[0]])
    model(images, [make_target([[0, 0, 30, 30]], [1])])["classification"].backward()
    assert model.network.backbone.fine.weight.grad.abs().sum() > 0


def test_how_regions_are_cropped_is_part_of_what_features_are():
    assert tiny_rcnn().feature_settings() == {"side": 24, "context": 2, "mode": "warp"}


def test_it_learns_to_find_a_square():
    """A white square on black among 40 regions: found after sixty steps."""
    model = tiny_rcnn()
    pixels = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    pixels[:, :, 20:44, 32:56] = 255
    boxes = torch.tensor([[x, y, x + 24, y + 24] for x in range(0, 72, 8) for y in range(0, 40, 8)])
    images = Images(pixels, torch.tensor([[64, 96]]), proposals=[boxes.float()])
    targets = [make_target([[32, 20, 56, 44]], [1])]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        model(images, targets)["classification"].backward()
        optimizer.step()

    (found,) = model.eval()(images)

    assert found.labels[0] == 1
    assert found.scores[0] > 0.5
    assert box_iou(found.boxes[:1], targets[0].boxes) > 0.5

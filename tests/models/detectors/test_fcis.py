"""FCIS as a whole: it learns masks, and the split of a batch changes nothing."""

import torch
from torchvision.ops import box_iou

from lit_detseg.models.fcis_settings import FCISRoISettings
from lit_detseg.structures import Images
from tests.models.detectors.test_faster_rcnn import gradients, part
from tests.tiny_detection import make_images, make_target, tiny_fcis

BOXES = [[8.0, 12, 40, 44], [52.0, 20, 88, 48]]


def test_it_learns_to_draw_two_rectangles():
    """White on black, of one class: found, told apart, and drawn."""
    model = tiny_fcis()
    pixels = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    for x1, y1, x2, y2 in torch.tensor(BOXES).int().tolist():
        pixels[:, :, y1:y2, x1:x2] = 255
    images = Images(pixels, torch.tensor([[64, 96]]))
    targets = [make_target(BOXES, [1, 1], masks=True)]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(150):
        optimizer.zero_grad()
        torch.stack(list(model(images, targets).values())).sum().backward()
        optimizer.step()

    (found,) = model(images)

    assert found.labels[:2].tolist() == [1, 1]
    assert (found.scores[:2] > 0.5).all()
    assert (box_iou(torch.tensor(BOXES), found.boxes[:2]).amax(dim=1) > 0.75).all()
    # Boxes are tight around the masks, which fill them.
    assert (found.mask_cells[:2] >= 0.5).float().mean() > 0.9


def test_a_batch_on_two_ranks_is_the_batch_on_one():
    """Losses and gradients of the whole are the means of those of its halves, which DDP takes."""
    targets = [
        make_target([[4, 4, 30, 30]], [2], masks=True),
        make_target([], [], masks=True),
        make_target([[10, 20, 40, 60], [50, 5, 90, 25]], [0, 1], masks=True),
        make_target([[60, 30, 76, 46]], [1], masks=True),
    ]
    settings = FCISRoISettings(groups=3, cells=9, hidden_channels=8, num_samples=16)
    model = tiny_fcis(rois=settings)
    images = make_images([(64, 96), (50, 70), (64, 96), (60, 96)], seeds=[11, 12, 13, 14])

    whole, whole_gradient = gradients(model, images, targets)
    first, first_gradient = gradients(model, part(images, slice(0, 2)), targets[:2])
    second, second_gradient = gradients(model, part(images, slice(2, 4)), targets[2:])

    for name, value in whole.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)
    for grad, one, two in zip(whole_gradient, first_gradient, second_gradient, strict=True):
        torch.testing.assert_close(grad, (one + two) / 2, rtol=1e-4, atol=1e-6)

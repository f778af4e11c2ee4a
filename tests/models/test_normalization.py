"""Pixels in, what a network was trained on out."""

import pytest
import torch
from torchvision.models import ResNet50_Weights

from lit_detseg.models.normalization import CAFFE, TORCHVISION, PixelNormalization
from lit_detseg.structures import Images, UserError


def one_colour(red, green, blue, dtype=torch.uint8):
    """One image of 1 x 2 pixels, padded to 2 x 4."""
    pixels = torch.zeros(1, 3, 2, 4, dtype=dtype)
    pixels[0, :, :1, :2] = torch.tensor([red, green, blue], dtype=dtype).view(3, 1, 1)
    return Images(pixels, torch.tensor([[1, 2]]))


def test_caffe_reads_blue_first_and_subtracts_its_mean():
    normalised = PixelNormalization(*CAFFE)(one_colour(red=124, green=119, blue=107))

    assert normalised[0, :, 0, 1].tolist() == [107 - 104, 119 - 117, 124 - 123]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_torchvision_statistics_equal_its_own_transform(dtype):
    images = one_colour(red=10, green=200, blue=77, dtype=dtype)
    transform = ResNet50_Weights.DEFAULT.transforms(crop_size=2, resize_size=2)
    whole = images.pixels[:, :, :1, :2].expand(1, 3, 2, 2).to(torch.uint8)

    normalised = PixelNormalization(*TORCHVISION)(images)

    torch.testing.assert_close(normalised[0, :, 0, 0], transform(whole)[0, :, 0, 0])


def test_padding_is_exactly_the_mean_colour():
    normalised = PixelNormalization(*TORCHVISION)(one_colour(0, 0, 0))

    outside = torch.ones(2, 4, dtype=torch.bool)
    outside[:1, :2] = False
    assert (normalised[0, :, outside] == 0).all()
    assert (normalised[0, :, ~outside] < -1.5).all()  # black: -mean / std, about -2


def test_what_lies_in_the_padding_does_not_matter():
    images = one_colour(1, 2, 3)
    scribbled = images.pixels.clone()
    scribbled[:, :, 1:] = 255
    normalise = PixelNormalization(*CAFFE)

    assert normalise(images).equal(normalise(images._replace(pixels=scribbled)))


def test_each_image_alone_has_no_padding():
    normalise, images = PixelNormalization(*CAFFE), one_colour(1, 2, 3)
    (alone,) = normalise.each_alone(images)
    assert alone.equal(normalise(images)[0, :, :1, :2])


def test_statistics_and_channel_order_travel_in_the_state_dict():
    caffe, other = PixelNormalization(*CAFFE), PixelNormalization(*TORCHVISION)

    other.load_state_dict(caffe.state_dict())

    images = one_colour(10, 20, 30)
    assert other(images).equal(caffe(images))


def test_an_unknown_channel_order_is_named():
    with pytest.raises(UserError, match='"rbg2".*"rgb" or "bgr"'):
        PixelNormalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "rbg2")

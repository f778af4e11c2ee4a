"""Box offsets against the formulas of R-CNN, appendix C."""

import math

import pytest
import torch

from lit_detseg.ops.box_coding import MAX_LOG_SIZE_RATIO, decode_boxes, encode_boxes


def test_offsets_follow_equations_6_to_9():
    # Center (10, 20) size 10 x 20 seen from center (5, 10) size 10 x 10, worked by hand:
    t_x = (10 - 5) / 10
    t_y = (20 - 10) / 10
    t_w = math.log(10 / 10)
    t_h = math.log(20 / 10)

    offsets = encode_boxes(
        target=torch.tensor([[5.0, 10.0, 15.0, 30.0]]),
        reference=torch.tensor([[0.0, 5.0, 10.0, 15.0]]),
    )

    torch.testing.assert_close(offsets, torch.tensor([[t_x, t_y, t_w, t_h]]))


def test_decoding_undoes_encoding(random_boxes):
    target, reference = random_boxes(100), random_boxes(100)
    decoded = decode_boxes(encode_boxes(target, reference), reference)
    torch.testing.assert_close(decoded, target, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        pytest.param([0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 10.0, 10.0], id="zero offsets: unchanged"),
        pytest.param([1.0, 0.0, 0.0, 0.0], [10.0, 0.0, 20.0, 10.0], id="t_x = 1: one width right"),
        pytest.param([0.0, -0.5, 0.0, 0.0], [0.0, -5.0, 10.0, 5.0], id="t_y < 0: upwards"),
        pytest.param(
            [0.0, 0.0, math.log(2), 0.0], [-5.0, 0.0, 15.0, 10.0], id="t_w: twice as wide"
        ),
    ],
)
def test_decode_boxes(offsets, expected):
    reference = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    torch.testing.assert_close(
        decode_boxes(torch.tensor([offsets]), reference), torch.tensor([expected])
    )


def test_a_wild_prediction_stays_finite():
    reference = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    box = decode_boxes(torch.tensor([[0.0, 0.0, 1e6, 0.0]]), reference)
    assert box[0, 2] - box[0, 0] == pytest.approx(16 * math.exp(MAX_LOG_SIZE_RATIO))


def test_no_boxes_is_not_an_error():
    assert encode_boxes(torch.empty(0, 4), torch.empty(0, 4)).shape == (0, 4)


def test_half_precision_offsets_are_decoded_in_float32():
    box = decode_boxes(
        torch.tensor([[0.25, 0.0, 0.5, 0.0]], dtype=torch.bfloat16),
        torch.tensor([[0.0, 0.0, 1000.0, 10.0]]),
    )
    center, width = 500 + 0.25 * 1000, 1000 * math.exp(0.5)
    expected = torch.tensor([[center - width / 2, 0.0, center + width / 2, 10.0]])
    torch.testing.assert_close(box, expected)


def test_one_reference_is_moved_once_per_class():
    offsets = torch.zeros(2, 3, 4)
    offsets[1, 2, 0] = 1.0
    reference = torch.tensor([[[0.0, 0.0, 4.0, 4.0]], [[10.0, 10.0, 12.0, 12.0]]])
    boxes = decode_boxes(offsets, reference)
    assert boxes.shape == (2, 3, 4)
    assert boxes[1, 1].tolist() == [10.0, 10.0, 12.0, 12.0]
    assert boxes[1, 2].tolist() == [12.0, 10.0, 14.0, 12.0]

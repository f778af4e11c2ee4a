"""What a checkpoint says about the stream of images, and what a run makes of it."""

import pytest

from lit_detseg.data.order import TrainingOrder
from lit_detseg.data.stream import continued_step, stream_state
from lit_detseg.structures import UserError

SET = ("a" * 64,)


def state(step=0, sets=SET, lengths=(10, 10), batch=4, **options):
    return stream_state(TrainingOrder(lengths, batch, **options), sets, step)


@pytest.mark.parametrize("step", [0, 3, 5, 17])
def test_the_same_stream_goes_on_at_the_same_step(step):
    assert continued_step(state(step), state(), allow_changed=False) == step


def test_another_accumulation_goes_on_with_the_same_image():
    """Step 7 of 5 a epoch is step 2 of epoch 1; in half steps, of 10 a epoch, this is 10 + 4."""
    halves = state(batch=2, accumulate=2)
    assert continued_step(state(7), halves, allow_changed=False) == 14
    assert continued_step({**halves, "step": 14}, state(), allow_changed=False) == 7


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"seed": 5}, "seed = 0 there, seed = 5 here", id="seed"),
        pytest.param({"batch": 2}, "total_batch_size = 4 there, total_batch_size = 2", id="batch"),
        pytest.param({"tail": "wrap"}, "tail = drop there, tail = wrap here", id="tail"),
        pytest.param({"shuffle_window": 3}, "shuffle_window = 16 there", id="window"),
        pytest.param({"sets": ("b" * 64,)}, r"\['aaaaaaaaaaaa'\] there", id="data set"),
    ],
)
def test_another_stream_is_refused_with_what_has_changed(changed, message):
    with pytest.raises(UserError, match=message):
        continued_step(state(7), state(**changed), allow_changed=False)


def test_an_allowed_change_goes_on_at_the_same_place_of_the_same_epoch():
    # 20 images: 7 steps of 4 are epoch 1, image 8; of batches of 2 and of 5 this is
    assert continued_step(state(7), state(batch=2), allow_changed=True) == 10 + 8 // 2
    assert continued_step(state(7), state(batch=5), allow_changed=True) == 4 + 8 // 5

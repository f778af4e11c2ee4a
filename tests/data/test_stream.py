"""What a checkpoint says about the stream of images, and what a run makes of it."""

import numpy as np
import pytest
from lightning import Trainer

from lit_detseg.data.order import TrainingOrder
from lit_detseg.data.sampling import RepeatFactor
from lit_detseg.data.stream import continued_step, stream_state
from lit_detseg.structures import UserError
from tests.data.diary import BATCH, IMAGES, STEPS, WORKERS, Diary, data, expected, fit
from tests.data.shard_sets import write_numbered, write_shapes

SET = ("a" * 64,)
ADDED = ("sampling", "group_by_aspect_ratio")


def state(step=0, sets=SET, lengths=(10, 10), batch=4, **options):
    return stream_state(TrainingOrder(lengths, batch, **options), sets, step)


SAMPLED = {"copies": np.full(20, 1.25), "sampling": "RepeatFactor(threshold=0.1)"}
GROUPED = {"groups": np.arange(20) % 2}


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
        pytest.param(
            SAMPLED, r"sampling = none there, sampling = RepeatF.*0.1\) here", id="sampling"
        ),
        pytest.param(GROUPED, "group_by_aspect_ratio = False there", id="grouping"),
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


def test_companions_may_change_as_other_transforms_may():
    assert continued_step(state(7), state(companions=3), allow_changed=False) == 7


def test_a_checkpoint_from_before_sampling_existed_goes_on():
    old = {name: value for name, value in state(7).items() if name not in ADDED}
    assert continued_step(old, state(), allow_changed=False) == 7
    with pytest.raises(UserError, match="sampling = none there"):
        continued_step(old, state(**SAMPLED), allow_changed=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_numbered(tmp_path_factory.mktemp("modules") / "set", IMAGES))


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("saved", [3, 5, 7])
def test_a_checkpoint_goes_on_with_exactly_the_next_images(folder, tmp_path, saved, workers):
    path = tmp_path / "last.ckpt"
    whole = fit(Diary([saved], path), data(folder, **workers)).trained

    resumed = fit(Diary(), data(folder, **workers), ckpt_path=path)

    assert resumed.trained == whole[saved:]


@pytest.mark.parametrize("saved", [4, 9])
def test_so_does_one_that_samples_and_groups(tmp_path, saved):
    folder = str(write_shapes(tmp_path / "set", IMAGES))
    options = {"sampling": RepeatFactor(1.0), "group_by_aspect_ratio": True, "tail": "wrap"}
    path = tmp_path / "last.ckpt"
    whole = fit(Diary([saved], path), data(folder, **options)).trained

    resumed = fit(Diary(), data(folder, **options), ckpt_path=path)

    assert whole != expected(folder, range(len(whole)), tail="wrap")
    assert resumed.trained == whole[saved:]
    with pytest.raises(UserError, match=r"sampling = RepeatFactor\(threshold=1.0\).*there"):
        fit(Diary(), data(folder, tail="wrap"), ckpt_path=path)


@pytest.mark.parametrize(
    ("hook", "saved"),
    [("on_train_epoch_end", 5), ("on_validation_end", 5), ("on_validation_end", 8)],
)
@pytest.mark.parametrize("limit", [{}, {"max_epochs": -1, "max_steps": 13}])
def test_so_does_one_from_the_end_of_an_epoch_or_of_a_validation(
    folder, tmp_path, hook, saved, limit
):
    path = tmp_path / "last.ckpt"
    interval = {"val_check_interval": 4} if saved == 8 else {}
    options = {**limit, **interval, "check_val_every_n_epoch": None if saved == 8 else 1}
    whole = fit(Diary([saved], path, hook), data(folder, val=folder), **options).trained

    resumed = fit(Diary(), data(folder, val=folder), ckpt_path=path, **options)

    assert whole == expected(folder, range(13 if "max_steps" in limit else 15))
    assert resumed.trained == whole[saved:]


def test_a_run_limited_by_steps_resumes_in_the_middle(folder, tmp_path):
    path = tmp_path / "last.ckpt"
    limit = {"max_epochs": -1, "max_steps": 12}
    whole = fit(Diary([7], path), data(folder), **limit).trained
    assert fit(Diary(), data(folder), ckpt_path=path, **limit).trained == whole[7:]
    assert len(whole) == 12


def test_the_loader_counts_as_resumable(folder, tmp_path, recwarn):
    path = tmp_path / "last.ckpt"
    fit(Diary([3], path), data(folder))
    fit(Diary(), data(folder), ckpt_path=path)
    assert not [warning for warning in recwarn if "not resumable" in str(warning.message)]


def test_a_shortened_epoch_goes_on_where_the_one_before_it_ended(folder):
    module = fit(Diary(), data(folder), limit_train_batches=3)
    assert module.trained == expected(folder, range(9))


def test_overfitting_shows_the_same_images_again(folder):
    module = fit(Diary(), data(folder), overfit_batches=2)
    assert module.trained == expected(folder, range(2)) * 3


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (4, 2)])
@pytest.mark.parametrize("optimiser_steps", [3, 5, 7])
@pytest.mark.parametrize("limit", [{}, {"max_epochs": -1, "max_steps": 15}])
def test_accumulation_may_change_without_changing_the_images(
    folder, tmp_path, before, after, optimiser_steps, limit
):
    path = tmp_path / "last.ckpt"
    first = Diary([optimiser_steps * before], path)
    whole = fit(first, data(folder), accumulate_grad_batches=before, **limit).trained
    assert whole == expected(folder, range(15 * before), BATCH // before, accumulate=before)
    assert sum(whole, []) == sum(expected(folder, range(15)), [])

    second = fit(Diary(), data(folder), path, accumulate_grad_batches=after, **limit)

    rest = range(optimiser_steps * after, 15 * after)
    assert second.trained == expected(folder, rest, BATCH // after, accumulate=after)
    assert second.trainer.global_step == 15
    assert second.epochs_began_at == [
        epoch * STEPS * after - rest.start for epoch in (1, 2) if epoch * STEPS > optimiser_steps
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"seed": 1}, "seed = 0 there, seed = 1 here", id="seed"),
        pytest.param({"total_batch_size": 7}, "total_batch_size = 4 there", id="batch"),
        pytest.param({"train": "other"}, "train_sets", id="data set"),
    ],
)
def test_a_resume_on_another_stream_is_refused_unless_asked_for(folder, tmp_path, changed, message):
    path = tmp_path / "last.ckpt"
    fit(Diary([3], path), data(folder))
    if "train" in changed:
        changed = {"train": str(write_numbered(tmp_path / "other", images=20))}
    with pytest.raises(UserError, match=message):
        fit(Diary(), data(folder, **changed), ckpt_path=path)

    allowed = data(folder, **changed, allow_changed_stream=True)
    resumed = fit(Diary(), allowed, ckpt_path=path)

    batch = changed.get("total_batch_size", BATCH)
    first = 3 * BATCH // batch
    follow = expected(
        changed.get("train", folder), range(first, 99), batch=batch, seed=changed.get("seed", 0)
    )
    assert resumed.trained == follow[: len(resumed.trained)]
    assert resumed.trained


def test_evaluating_a_checkpoint_asks_for_no_stream(folder, tmp_path):
    path = tmp_path / "last.ckpt"
    fit(Diary([3], path), data(folder))
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    module = Diary()
    data_module = data(folder, val=folder, seed=99)
    trainer.validate(module, datamodule=data_module, ckpt_path=path)
    assert len(module.evaluated) == IMAGES

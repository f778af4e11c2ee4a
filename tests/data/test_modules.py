"""The data modules under a real Trainer: position, resume, ranks, refusals."""

import json
from itertools import pairwise

import pytest
import torch
from lightning import LightningModule, Trainer

from lit_detseg.data import CocoDataModule, ShapesDataModule, ShardDataModule, VOCDataModule
from lit_detseg.data.order import TrainingOrder
from lit_detseg.data.shards import ShardReader
from lit_detseg.data.transforms import RandomHorizontalFlip, ResizeShortestSide
from lit_detseg.structures import DetectionBatch, LabelMap, UserError
from tests.data.shard_sets import raw_sample, write_numbered, write_shards

IMAGES, BATCH = 21, 4
STEPS = IMAGES // BATCH  # 5 an epoch


class Diary(LightningModule):
    """Learns nothing and writes down what it was shown."""

    def __init__(self, save_at=(), path=None, save_hook="on_train_batch_end"):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[list[str]] = []
        self.evaluated: list[str] = []
        self.save_at, self.path, self.save_hook = save_at, path, save_hook

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, batch_index):
        assert isinstance(batch, DetectionBatch)
        assert batch.images.seeds is not None
        self.trained.append([target.image_id for target in batch.targets])
        return self.weight * 0

    def validation_step(self, batch, batch_index):
        self.evaluated += [target.image_id for target in batch.targets]

    test_step = predict_step = validation_step

    def _save(self, hook):
        if hook == self.save_hook and len(self.trained) in self.save_at:
            self.trainer.save_checkpoint(self.path)

    def on_train_batch_end(self, *_):
        self._save("on_train_batch_end")

    def on_train_epoch_end(self):
        self._save("on_train_epoch_end")

    def on_validation_end(self):
        self._save("on_validation_end")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_numbered(tmp_path_factory.mktemp("modules") / "set", IMAGES))


def data(folder, **options):
    return ShapesDataModule(
        **{"train": folder, "total_batch_size": BATCH, "num_workers": 0, **options}
    )


def fit(module, data_module, ckpt_path=None, **options):
    trainer = Trainer(
        **{
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "max_epochs": 3,
            **options,
        }
    )
    trainer.fit(module, datamodule=data_module, ckpt_path=ckpt_path)
    return module


def expected(folder, steps, **options):
    """The keys of each step, from the arithmetic alone."""
    reader = ShardReader([folder])
    order = TrainingOrder(reader.shard_lengths, **{"batch": BATCH, **options})
    return [reader.keys[order.slots(step).samples].tolist() for step in steps]


WORKERS = [
    pytest.param({}, id="no workers"),
    pytest.param({"num_workers": 2}, id="workers"),
    pytest.param({"num_workers": 2, "persistent_workers": True}, id="persistent workers"),
]


@pytest.mark.parametrize("workers", WORKERS)
def test_epochs_follow_each_other_in_different_order(folder, workers):
    module = fit(Diary(), data(folder, **workers))
    assert module.trained == expected(folder, range(3 * STEPS))
    epochs = [module.trained[e * STEPS : (e + 1) * STEPS] for e in range(3)]
    assert all(one != other for one, other in pairwise(epochs))


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("saved", [3, 5, 7])
def test_a_checkpoint_goes_on_with_exactly_the_next_images(folder, tmp_path, saved, workers):
    path = tmp_path / "last.ckpt"
    whole = fit(Diary([saved], path), data(folder, **workers)).trained

    resumed = fit(Diary(), data(folder, **workers), ckpt_path=path)

    assert resumed.trained == whole[saved:]


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


def test_accumulation_changes_the_steps_but_not_the_images(folder, tmp_path):
    path = tmp_path / "last.ckpt"
    whole = fit(Diary([6], path), data(folder), accumulate_grad_batches=2).trained
    assert whole == expected(folder, range(3 * 2 * STEPS), batch=2, accumulate=2)
    assert sum(whole, []) == sum(expected(folder, range(3 * STEPS)), [])

    resumed = fit(Diary(), data(folder), ckpt_path=path)  # three optimiser steps were done

    assert resumed.trained[:12] == expected(folder, range(3, 15))


def test_evaluation_sees_every_image_once_and_in_order(folder):
    data_module = data(folder, val=folder, test=folder, predict=folder, eval_batch_size=4)
    module = fit(Diary(), data_module, max_epochs=1)
    keys = [f"{number:04d}" for number in range(IMAGES)]
    assert module.evaluated == keys
    for run in (Trainer.test, Trainer.predict):
        module.evaluated = []
        options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
        run(Trainer(**options), module, datamodule=data_module)
        assert module.evaluated == keys


class TwoRanks(Diary):
    """Each rank leaves its diary in a file."""

    def on_fit_end(self):
        text = json.dumps({"trained": self.trained, "evaluated": self.evaluated})
        (self.path / f"{self.global_rank}.json").write_text(text)


def test_two_processes_share_each_step_and_each_image_is_evaluated_once(folder, tmp_path):
    """With Lightning's own sampler left switched on, which would show image 0 twice."""
    options = {"strategy": "ddp_fork", "devices": 2, "max_epochs": 1}
    data_module = data(folder, val=folder, eval_batch_size=5, num_workers=1)
    fit(TwoRanks(path=tmp_path), data_module, use_distributed_sampler=True, **options)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    together = [a + b for a, b in zip(*(rank["trained"] for rank in ranks), strict=True)]
    assert together == expected(folder, range(STEPS))
    evaluated = ranks[0]["evaluated"] + ranks[1]["evaluated"]
    assert sorted(evaluated) == [f"{number:04d}" for number in range(IMAGES)]


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


def test_a_data_module_works_in_a_plain_loop(folder):
    first, second = data(folder), data(folder)
    loader = first.train_dataloader()
    batches = [batch.annotations.image_ids for batch in loader]
    assert batches == expected(folder, range(STEPS))
    second.load_state_dict({**first.state_dict(), "step": 3})
    resumed = [batch.annotations.image_ids for batch in second.train_dataloader()]
    assert resumed == expected(folder, range(3, STEPS))


def test_what_is_known_without_opening_a_shard(folder, tmp_path):
    module = data(folder, val=folder)
    assert module.label_map == LabelMap(("cat", "dog"))
    assert (module.num_train_images, module.num_val_images) == (IMAGES, IMAGES)
    other = write_shards(
        tmp_path / "set",
        [raw_sample("a", torch.zeros(8, 8, 3).byte().numpy())],
        label_map=LabelMap(("cat", "cow")),
    )
    with pytest.raises(UserError, match=r"data.train and data.val have different classes: label 1"):
        _ = data(folder, val=str(other)).label_map


def test_several_training_sets_are_read_as_one(folder, tmp_path):
    other = str(write_numbered(tmp_path / "more", images=3, prefix="x"))
    module = fit(Diary(), data([folder, other]), max_epochs=1)
    assert len({key for step in module.trained for key in step}) == 24


@pytest.mark.parametrize(
    ("options", "trainer", "message"),
    [
        pytest.param({"train": None}, {}, "No shards were given", id="no shards"),
        pytest.param({"total_batch_size": 22}, {}, "fewer than one batch of 22", id="too large"),
        pytest.param(
            {"total_batch_size": 4},
            {"accumulate_grad_batches": 3},
            "1 processes x 3 accumulated steps. Use a multiple of 3, for example 3",
            id="accumulation",
        ),
    ],
)
def test_mistakes_are_found_before_training(folder, options, trainer, message):
    with pytest.raises(UserError, match=message):
        fit(Diary(), data(folder, **options), **trainer)


@pytest.mark.parametrize(
    ("kind", "sizes"), [(CocoDataModule, (800, 1333)), (VOCDataModule, (600, 1000))]
)
def test_each_data_set_has_the_transforms_of_its_papers(kind, sizes):
    resize, flip = kind().train_transforms
    assert isinstance(resize, ResizeShortestSide)
    assert isinstance(flip, RandomHorizontalFlip)
    assert (resize.min_sizes, resize.max_size) == ([sizes[0]], sizes[1])
    assert [type(transform) for transform in kind().eval_transforms] == [ResizeShortestSide]
    assert kind(train_transforms=[]).train_transforms == []
    assert ShardDataModule().train_transforms == ShapesDataModule().eval_transforms == []

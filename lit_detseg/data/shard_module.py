"""What Lightning and the YAML see of the data: shards in, batches out."""

from collections.abc import Iterator
from typing import Any

from lightning import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn

from lit_detseg.data.loading.batches import BatchReader, PackedBatch, unpack_batch
from lit_detseg.data.loading.loader import PositionedLoader, StepLoader, loader_options
from lit_detseg.data.loading.sample_checks import check_keeps_proposals
from lit_detseg.data.order import (
    DEFAULT_SEED,
    DEFAULT_SHUFFLE_WINDOW,
    EvaluationOrder,
    Order,
    Tail,
    TrainingOrder,
    images_per_step,
)
from lit_detseg.data.plan import plan_rows, training_plan
from lit_detseg.data.sampling import Sampling, training_order
from lit_detseg.data.shard_sets import DEFAULT_CACHE_GB, Split, shard_sets
from lit_detseg.data.stream import (
    continued_step,
    recount,
    steps_to_train,
    steps_trained,
    stream_state,
)
from lit_detseg.data.transforms.base import Transform, companions_of
from lit_detseg.structures import LabelMap


class ShardDataModule(LightningDataModule):
    """Batches from shard sets made by `lit-detseg pack`.

    Each rank reads its share of each step; evaluation sees each image exactly once. No sampler of
    Lightning's is needed or used, whatever `use_distributed_sampler` says.

    Args:
        train: folder or URL (`https://`, `s3://`) of the training shards, or several of them read
            as one set.
        val: likewise, for validation.
        test: likewise, for `lit-detseg test`.
        predict: likewise, for `lit-detseg predict`.
        total_batch_size: images per optimiser step, over all ranks and accumulated batches.
        eval_batch_size: images per evaluation step over all ranks; not given: as in training.
        num_workers: loader processes per rank; 0 reads in the training process.
        prefetch_factor: batches that each worker keeps ready.
        persistent_workers: keep the workers between epochs.
        seed: of order, augmentation and sampling.
        shuffle_window: shards whose samples are mixed with each other.
        tail: `drop` leaves out the last images of an epoch that fill no whole optimiser step;
            `wrap` fills the step up with the epoch's first images.
        train_transforms: changes of training images, in turn; not given: those of the class.
        eval_transforms: changes of all other images.
        size_divisor: padded height and width are multiples of it.
        train_on_difficult: train on objects that are marked difficult (VOC).
        masks: give the model and the metric the instances' masks.
        proposals: name of the region proposals to give the model; see `lit-detseg propose`.
        max_proposals: the first so many of each image; not given: all.
        sampling: how often an epoch shows each image, `RepeatFactor` for example; not given: once.
        group_by_aspect_ratio: each optimiser step shows only high or only wide images.
        cache_dir: where a node keeps remote shards; else `LIT_DETSEG_CACHE`, else a temporary one.
        cache_gb: 10^9 bytes of remote shards that a node may keep.
        cache_local: read folders through it too, from a slow shared file system.
        storage_options: of the remote store, see `ShardCache`; passwords belong in the environment.
        allow_changed_stream: continue a checkpoint though seed, batch size, tail, window or
            training shards have changed, from the same place of the same epoch.
    """

    def __init__(
        self,
        train: str | list[str] | None = None,
        val: str | list[str] | None = None,
        test: str | list[str] | None = None,
        predict: str | list[str] | None = None,
        total_batch_size: int = 8,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        prefetch_factor: int = 2,
        persistent_workers: bool = False,
        seed: int = DEFAULT_SEED,
        shuffle_window: int = DEFAULT_SHUFFLE_WINDOW,
        tail: Tail = "drop",
        train_transforms: list[Transform] | None = None,
        eval_transforms: list[Transform] | None = None,
        size_divisor: int = 32,
        train_on_difficult: bool = False,
        masks: bool = False,
        proposals: str | None = None,
        max_proposals: int | None = None,
        sampling: Sampling | None = None,
        group_by_aspect_ratio: bool = False,
        cache_dir: str | None = None,
        cache_gb: float = DEFAULT_CACHE_GB,
        cache_local: bool = False,
        storage_options: dict[str, Any] | None = None,
        allow_changed_stream: bool = False,
    ) -> None:
        super().__init__()
        self.sets = shard_sets(
            {"train": train, "val": val, "test": test, "predict": predict},
            cache_dir=cache_dir,
            cache_gb=cache_gb,
            cache_local=cache_local,
            storage_options=storage_options,
            proposals=proposals,
            max_proposals=max_proposals,
        )
        self.folders = self.sets.folders
        self.total_batch_size = total_batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        self.seed = seed
        self.shuffle_window = shuffle_window
        self.tail = tail
        self.train_transforms = (
            self.default_train_transforms() if train_transforms is None else train_transforms
        )
        self.eval_transforms = (
            self.default_eval_transforms() if eval_transforms is None else eval_transforms
        )
        if proposals is not None:
            check_keeps_proposals([*self.train_transforms, *self.eval_transforms])
        self.size_divisor = size_divisor
        self.train_on_difficult = train_on_difficult
        self.masks = masks
        self.sampling = sampling
        self.group_by_aspect_ratio = group_by_aspect_ratio
        self.allow_changed_stream = allow_changed_stream
        self._order: TrainingOrder | None = None
        self._loaders: list[StepLoader] = []
        self._restored: dict[str, Any] = {}  # the checkpoint's state, until training goes on

    def default_train_transforms(self) -> list[Transform]:
        """What is done to training images when `train_transforms` is not given."""
        return []

    def default_eval_transforms(self) -> list[Transform]:
        """What is done to all other images when `eval_transforms` is not given."""
        return []

    @property
    def label_map(self) -> LabelMap:
        """The classes, which the sets in use have in common; read from the indexes alone.

        Under a trainer those are the sets of its word, otherwise all that were given.
        """
        return self.sets.label_map(None if self.trainer is None else self.trainer.state.fn)

    def num_images(self, split: Split) -> int:
        """Images in the sets of a split, including those that an epoch's tail leaves out."""
        return len(self.sets.reader(split))

    def num_proposals(self, split: Split) -> dict[str, int]:
        """How many proposals of each image the model gets, by id; a crop leaves it fewer."""
        return self.sets.num_proposals(split)

    def regions_to_learn(self) -> Iterator[tuple[Any, Any, Any]]:
        """Proposals, boxes and labels of each training image; see `ShardSets.regions`."""
        return self.sets.regions("train", self.train_on_difficult)

    def training_order(self) -> TrainingOrder:
        """Which training image stands where, for the trainer's number of ranks."""
        batch = self._images_per_step()
        if self._order is None or self._order.batch != batch:
            self._order = training_order(
                self.sets.reader("train"),
                batch,
                sampling=self.sampling,
                group_by_aspect_ratio=self.group_by_aspect_ratio,
                seed=self.seed,
                shuffle_window=self.shuffle_window,
                tail=self.tail,
                accumulate=self._accumulate,
                companions=companions_of(self.train_transforms),
            )
        return self._order

    def plan_lines(self) -> list[str]:
        """What training will read, by how many ranks, in words."""
        ranks = 1 if self.trainer is None else self.trainer.world_size
        rows = plan_rows(training_plan(self.training_order(), ranks))
        if self.folders["val"]:
            rows["validation"] = f"{self.num_images('val')} images, each of them once"
        return [f"  {name:<11} {value}" for name, value in rows.items()]

    def setup(self, stage: str) -> None:
        """Find out before the first batch whether sets and batch sizes fit together."""
        _ = self.label_map
        self.sets.require_agreement(stage)
        if stage == "fit":
            self.training_order()
            self.sets.require_room("train", self.shuffle_window)

    def teardown(self, stage: str) -> None:
        """End the workers."""
        for loader in self._loaders:
            loader.close()
        self._loaders.clear()
        self.sets.close()

    def train_dataloader(self) -> PositionedLoader:
        """This rank's training batches, from where training stands to the end of the epoch."""
        batches = self._batches("train", self.train_transforms, training=True)
        order = self._fetched_ahead("train", self.training_order())
        steps = None if self.trainer is None else self._steps_to_train
        loader = PositionedLoader(batches, order, steps=steps, **self._loader_options())
        if self._restored:
            self._continue(loader)
        self._loaders.append(loader)
        return loader

    def val_dataloader(self) -> StepLoader | list[StepLoader]:
        """This rank's validation batches; none when no validation set is given."""
        return self._eval_loader("val") if self.folders["val"] else []

    def test_dataloader(self) -> StepLoader:
        """This rank's test batches."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> StepLoader:
        """This rank's batches to predict on."""
        return self._eval_loader("predict")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Unpack on the device: five tensors made the way, whatever the number of objects."""
        return unpack_batch(batch) if isinstance(batch, PackedBatch) else batch

    def state_dict(self) -> dict[str, Any]:
        """Which stream of images was trained on, and how far."""
        if not self.folders["train"]:
            return {}
        return self._stream_state(0 if self.trainer is None else steps_trained(self.trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to continue a run on another stream of images; evaluation may use any.

        Raises:
            UserError: naming what has changed, unless `allow_changed_stream`.
        """
        fitting = self.trainer is None or self.trainer.state.fn == TrainerFn.FITTING
        if state_dict and fitting:
            continued_step(state_dict, self._stream_state(0), self.allow_changed_stream)
            self._restored = state_dict

    def _images_per_step(self) -> int:
        ranks = 1 if self.trainer is None else self.trainer.world_size
        return images_per_step(self.total_batch_size, ranks, self._accumulate)

    @property
    def _accumulate(self) -> int:
        return 1 if self.trainer is None else self.trainer.accumulate_grad_batches

    def _eval_loader(self, split: Split) -> StepLoader:
        batches = self._batches(split, self.eval_transforms, training=False)
        as_in_training = max(self.total_batch_size // self._accumulate, 1)
        images = as_in_training if self.eval_batch_size is None else self.eval_batch_size
        order = EvaluationOrder(len(self.sets.reader(split)), images)
        ahead = self._fetched_ahead(split, order)
        loader = StepLoader(batches, ahead, **self._loader_options())
        self._loaders.append(loader)
        return loader

    def _batches(self, split: Split, transforms: list[Transform], training: bool) -> BatchReader:
        return BatchReader(
            self.sets.reader(split),
            transforms,
            training,
            self.train_on_difficult,
            self.size_divisor,
            self.masks,
            self.sets.proposals(split),
        )

    def _fetched_ahead(self, split: Split, order: Order) -> Order:
        read_ahead = self.num_workers * self.prefetch_factor
        return self.sets.fetched_ahead(split, order, self.trainer, read_ahead)

    def _loader_options(self) -> dict[str, Any]:
        return loader_options(
            self.trainer, self.num_workers, self.prefetch_factor, self.persistent_workers
        )

    def _steps_to_train(self) -> range:
        return steps_to_train(self.trainer, self.training_order().steps)

    def _continue(self, loader: PositionedLoader) -> None:
        stored, current = self._restored, self._stream_state(0)
        loader.step = continued_step(stored, current, self.allow_changed_stream)
        if self.trainer is not None:
            recount(self.trainer, stored, current, loader.step)
        self._restored = {}

    def _stream_state(self, step: int) -> dict[str, Any]:
        return stream_state(self.training_order(), self.sets.identity("train"), step)

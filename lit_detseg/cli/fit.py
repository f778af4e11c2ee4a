"""`lit-detseg fit|validate|test|predict`: LightningCLI on recipes, shards and run directories."""

import os
import sys
from argparse import ArgumentError
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info

import lit_detseg.data.modules  # noqa: F401, so that the parser knows their short names
from lit_detseg.callbacks.checkpoint import RunCheckpoint
from lit_detseg.callbacks.finite_loss import FiniteLoss
from lit_detseg.callbacks.predictions import PredictionPictures
from lit_detseg.callbacks.progress import RunProgress
from lit_detseg.callbacks.results_file import ResultsFile
from lit_detseg.callbacks.throughput import Throughput
from lit_detseg.cli.classes import (
    UNSTATED,
    check_classes_of_checkpoint,
    configured_label_map,
    fill_from_checkpoint,
    fill_num_classes,
)
from lit_detseg.cli.parser import explain
from lit_detseg.cli.quiet import quiet_libraries
from lit_detseg.cli.ranks import is_rank_zero
from lit_detseg.cli.start_from import check_classes_of_sources, spare_pretrained_file
from lit_detseg.data.shard_module import ShardDataModule
from lit_detseg.errors import UserError
from lit_detseg.metrics.detection_metric import monitored_score
from lit_detseg.runs.checkpoints import AtomicCheckpointIO, newest_valid_checkpoint
from lit_detseg.runs.directory import RunDirectory
from lit_detseg.runs.loggers import run_loggers
from lit_detseg.runs.settings import Results, RunSettings
from lit_detseg.runs.start_from import Source, find_sources, start_from

TRAINER_DEFAULTS = {
    "use_distributed_sampler": False,  # the data module shares the samples itself, exactly
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,  # one sentence says it
    "log_every_n_steps": 10,
}


def main(arguments: list[str]) -> None:
    """Run one of Lightning's four words.

    Args:
        arguments: the word and its options.
    """
    try:
        DetSegCLI(arguments)
    except MisconfigurationException as error:  # Lightning's word for a user's mistake
        raise UserError(str(error)) from None
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(
            f"{str(error).strip().rstrip('.')}. When memory has run out, lower --data.num_workers "
            "or --data.prefetch_factor. Go on with --ckpt_path last."
        ) from None


class DetSegCLI(LightningCLI):
    """Recipes and run files in, a run directory out.

    Args:
        arguments: the word (`fit`, `validate`, `test` or `predict`) and its options.
    """

    run: RunDirectory

    def __init__(self, arguments: list[str]) -> None:
        sys.path.append(os.getcwd())  # a user's own classes, by import path
        quiet_libraries()
        self.word = arguments[0]
        self.recipe = _recipe_name(arguments)
        self.attempt = 1
        self.sources: list[Source] = []
        strict = {"allow_abbrev": False, "exit_on_error": False}
        super().__init__(
            model_class=LightningModule,
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults=dict(TRAINER_DEFAULTS),
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={"prog": "lit-detseg", **strict, self.word: strict},
            args=arguments,
        )

    # Lightning's is a static method: it cannot know which word was asked for.
    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the word asked for: each one costs a second to build."""
        return {self.word: LightningCLI.subcommands()[self.word]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the `run:` section."""
        parser.add_class_arguments(RunSettings, "run")
        if self.word == "fit":
            parser.epilog = "Several recipes in sequence: see `lit-detseg fit --stages --help`."

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; a model that insists on `num_classes` gets it later, from the shards."""
        unstated = [f"--{key}.num_classes={UNSTATED}" for key in ("model", "model.model")]
        complaint = ""
        for more in ([], unstated[:1], unstated[1:]):
            try:
                self.config = parser.parse_args([*args, *more])
                return
            except ArgumentError as error:
                complaint = complaint or str(error)
                if "required: num_classes" not in complaint:
                    break
        keys = [action.dest for action in self._parser(self.word)._actions]
        raise UserError(explain(complaint, keys, f"lit-detseg {self.word}"))

    def _parse_ckpt_path(self) -> None:
        """Nothing: checkpoints are verified and read once, by `AtomicCheckpointIO`."""

    def before_instantiate_classes(self) -> None:
        """Find the run directory, the checkpoint and the number of classes."""
        config = self.config[self.word]
        data = config.data
        if data is None:
            raise UserError(
                "There is no data: add a `data:` section or --data=CLASS to the recipe."
            )
        settings = data.get("init_args") or Namespace()
        if "seed" in settings and not settings.seed:
            settings.seed = int(config.seed_everything)  # `false` seeds nothing else
        found = configured_label_map(settings, self.word)
        if found is not None:
            fill_num_classes(config.model, *found)
        given = config.run.dir or config.trainer.default_root_dir  # Lightning's name for it
        self.run = RunDirectory(Path(given or Path("runs") / self.recipe))
        config.run.dir = str(self.run.path)
        config.trainer.default_root_dir = str(self.run.path)
        config.ckpt_path = self._checkpoint(config.get("ckpt_path"))
        if config.ckpt_path is not None:
            if found is not None:
                check_classes_of_checkpoint(*found, Path(config.ckpt_path))
            fill_from_checkpoint(config.model)
        elif self.word == "fit":
            self.sources = find_sources(config.run.start_from)
            if found is not None:
                check_classes_of_sources(*found, self.sources)
            spare_pretrained_file(config.model, self.sources)
        if self.word == "fit" and is_rank_zero():
            self._start_attempt(config)

    def _checkpoint(self, asked: str | None) -> str | None:
        """The file behind `--ckpt_path`: `last`, `best` or a path."""
        if asked == "last":
            newest = newest_valid_checkpoint(self.run.checkpoints)
            if newest is None and self.word != "fit":
                raise UserError(f"{self.run.path} holds no checkpoint yet: train first.")
            return None if newest is None else str(newest)
        if asked == "best":
            asked = str(self.run.checkpoints / "best.ckpt")
        if asked is not None and not Path(asked).is_file():
            raise UserError(f"There is no checkpoint {asked}. Give its path, `last` or `best`.")
        if asked is None and self.word != "fit":
            raise UserError(
                f"`lit-detseg {self.word}` needs weights: add --ckpt_path best, last or a path."
            )
        if asked is None and is_rank_zero() and self.run.is_used:
            raise UserError(
                f"{self.run.path} already holds a run. Continue it with --ckpt_path last, "
                "or start another one with --run.dir DIR."
            )
        return asked

    def _start_attempt(self, config: Namespace) -> None:
        stored = config.clone()
        for key in ("config", "ckpt_path"):
            stored.pop(key, None)
        text = self._parser(self.word).dump(stored, skip_unset=False)
        self.attempt = self.run.start_attempt(
            command=["lit-detseg", *sys.argv[1:]], resumed_from=config.ckpt_path
        )
        self.run.write_config(text)

    def instantiate_classes(self) -> None:
        """Build everything; a user's mistake comes out of jsonargparse's wrapping."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            if (mistake := _user_error_behind(error)) is None:
                raise
            raise mistake from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer of the configuration, with the run directory's loggers and callbacks."""
        settings = self._get(self.config_init, "run")
        trainer = self._get(self.config_init, "trainer")
        if trainer.get("logger") in (None, True):
            kwargs["logger"] = self._loggers(settings)
        kwargs["plugins"] = [*_as_list(trainer.get("plugins")), AtomicCheckpointIO()]
        kwargs["callbacks"] = [*_as_list(trainer.get("callbacks")), *self._callbacks(settings)]
        kwargs["enable_checkpointing"] = self.word == "fit"  # by RunCheckpoint
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, MisconfigurationException) as error:  # devices that are not there, ...
            raise UserError(f"The Trainer cannot be built: {error}") from None

    def fit(self, **arguments: Any) -> None:
        """Train or continue, and say where the run is."""
        if arguments.get("ckpt_path"):
            rank_zero_info(f"Continuing from {arguments['ckpt_path']}.")
        arguments["weights_only"] = True
        rank_zero_info(_describe(self.model))
        for sentence in start_from(self.model, self.sources) if self.sources else []:
            rank_zero_info(sentence)
        self._print_plan()
        self.trainer.fit(**arguments)
        rank_zero_info(f"The run is in {self.run.path}.")

    def predict(self, **arguments: Any) -> None:
        """Write what is found; Lightning would keep it all in memory as well."""
        self.trainer.predict(**{**arguments, "return_predictions": False})

    def _print_plan(self) -> None:
        """What will be read, before anything is; a data module of the user's own may not know."""
        if not isinstance(self.datamodule, ShardDataModule):
            return
        self.datamodule.trainer = self.trainer  # as `trainer.fit` will; the plan depends on it
        for line in self.datamodule.plan_lines():
            rank_zero_info(line)

    def _loggers(self, settings: RunSettings) -> list[Logger]:
        if self.word != "fit":
            return []
        return run_loggers(self.run, attempt=self.attempt, project=settings.wandb_project)

    def _callbacks(self, settings: RunSettings) -> list[Callback]:
        callbacks: list[Callback] = [RunProgress()]
        if settings.pictures:
            callbacks.append(PredictionPictures(self.run.pictures, count=settings.pictures))
        callbacks += self._results(settings.results)
        if self.word == "fit":
            metric = getattr(self.model, "metric", None)
            callbacks += [Throughput(), FiniteLoss()]
            callbacks.append(
                RunCheckpoint(
                    self.run,
                    every_n_steps=settings.checkpoint_every,
                    keep_last=settings.keep_checkpoints,
                    monitor=settings.monitor or monitored_score(metric),
                )
            )
        return callbacks

    def _results(self, form: Results | None) -> list[Callback]:
        if self.word == "predict" and form is None:
            return [ResultsFile(self.run.path / "predictions.json")]
        if self.word == "fit" or form is None or form == "none":
            return []
        return [ResultsFile.in_folder(self.run.path / "results" / self.word, form)]


def _user_error_behind(error: BaseException | None) -> UserError | None:
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def _describe(module: LightningModule) -> str:
    counts = [(p.numel(), p.requires_grad) for p in module.parameters()]
    descends = getattr(module, "descends", True)
    learning = sum(count for count, learns in counts if learns and descends)
    every = sum(count for count, _ in counts)
    return f"{type(module).__name__}: {every:,} parameters, {learning:,} of them learn."


def _recipe_name(arguments: list[str]) -> str:
    """The file name of the first configuration file, or `run` when there is none."""
    after_flag = [
        value
        for flag, value in zip(arguments, arguments[1:], strict=False)
        if flag in ("-c", "--config")
    ]
    return Path(after_flag[0]).stem if after_flag else "run"


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]

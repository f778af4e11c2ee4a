"""Mistakes of the user: exit code 2, one message that says what to do, no traceback, no usage."""

import shutil

import pytest

from lit_detseg.cli.main import main
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.voc import VocReader
from lit_detseg.runs.directory import RunDirectory
from tests.e2e.commands import fit_arguments, run_command


@pytest.fixture(scope="module")
def cats(tmp_path_factory):
    """Shards of other classes."""
    folder = tmp_path_factory.mktemp("cats")
    root = folder / "VOC"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    (root / "ImageSets/Main/train.txt").write_text("one\n")
    (root / "Annotations/one.xml").write_text(
        "<annotation><size><width>8</width><height>8</height></size><object><name>cat</name>"
        "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object>"
        "</annotation>"
    )
    _write_image(root / "JPEGImages/one.png")
    pack(VocReader(root, ["train"]), folder / "shards")
    return folder / "shards"


def _write_image(path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(path)


def complaint(capsys, *arguments):
    """What `lit-detseg` says before it exits with code 2."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr().err
    assert caught.value.code == 2, said
    assert "Traceback" not in said
    assert "usage:" not in said
    return said.split("lit-detseg: ", 1)[1]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        pytest.param("--trainer.max_step=3", "Did you mean `trainer.max_steps`?", id="bad flag"),
        pytest.param("--model.backbonne=x", "Did you mean `backbone`?", id="bad key of a class"),
        pytest.param("--trainer.max_steps=many", "trainer.max_steps: Expected a int", id="type"),
        pytest.param("--model.backbone=resnet51", "Nearest:", id="unknown backbone"),
        pytest.param("--data.train=/no/where", "is not a shard set", id="bad path"),
        pytest.param("--model.num_classes=7", "has 3 classes: circle", id="wrong class count"),
        pytest.param("--ckpt_path=no.ckpt", "There is no checkpoint no.ckpt", id="no checkpoint"),
        pytest.param("--config=no.yaml", "no.yaml", id="no recipe"),
        pytest.param(
            "--trainer.accelerator=npu", "invalid accelerator name", id="a device that is not there"
        ),
        pytest.param("--data.total_batch_size=100", "fewer than one batch of 100", id="too few"),
    ],
)
def test_a_mistake_gets_one_message(shards, tmp_path, capsys, option, expected):
    said = complaint(capsys, *fit_arguments(shards, tmp_path / "run", option))
    assert expected in said
    assert len(said.strip().splitlines()) == 1


def test_shards_of_other_classes_are_refused(shards, cats, tmp_path, capsys):
    said = complaint(capsys, *fit_arguments(shards, tmp_path / "run", f"--data.val={cats}"))
    assert "do not have the same classes" in said
    assert "circle" in said


def test_a_damaged_shard_is_named_though_a_worker_read_it(shards, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(shards / "train", damaged)
    for shard in damaged.glob("*.tar"):
        shard.write_bytes(bytes(len(shard.read_bytes())))
    arguments = fit_arguments(shards, tmp_path / "run", f"--data.train={damaged}")
    said = complaint(capsys, *arguments)
    assert "damaged/shard-0" in said
    assert "pack the data set again" in said


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory):
    """A run of two steps."""
    run = tmp_path_factory.mktemp("trained") / "run"
    run_command(*fit_arguments(shards, run, "--trainer.max_steps=2"))
    return run


def test_a_run_is_not_overwritten_by_another(shards, trained, capsys):
    said = complaint(capsys, *fit_arguments(shards, trained))
    assert "already holds a run" in said
    assert "--ckpt_path last" in said


def test_another_total_batch_is_refused_unless_asked_for(shards, trained, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    changed = ("--ckpt_path=last", "--data.total_batch_size=2")
    said = complaint(capsys, *fit_arguments(shards, trained, *changed))
    assert "total_batch_size = 4 there, total_batch_size = 2 here" in said
    assert "--data.allow_changed_stream=true" in said

    asked = (*changed, "--data.allow_changed_stream=true", "--trainer.max_steps=3")
    main([str(argument) for argument in fit_arguments(shards, trained, *asked)])
    assert (trained / "checkpoints/step-00000003.ckpt").is_file()


def test_a_checkpoint_of_other_classes_is_refused(shards, cats, trained, capsys):
    _, *rest = fit_arguments(shards, trained)
    said = complaint(capsys, "validate", *rest, "--ckpt_path=last", f"--data.val={cats}")
    assert "the weights in" in said
    assert "do not have the same classes: 20 classes against 3" in said


def test_evaluation_asks_for_weights(shards, tmp_path, capsys):
    _, *rest = fit_arguments(shards, tmp_path / "run")
    assert "add --ckpt_path best" in complaint(capsys, "validate", *rest)


def test_results_that_the_classes_do_not_allow_are_refused(shards, trained, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    words = ["test", "-c", trained / "config.yaml", "--ckpt_path=last"]
    sets = [f"--data.test={shards / 'val'}", "--run.results=cityscapes"]
    assert "The shards' label map has no source_ids" in complaint(capsys, *words, *sets)


def test_predictions_are_written_unless_told_otherwise(shards, trained, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    words = ["predict", "-c", trained / "config.yaml", "--ckpt_path=last"]
    sets = [f"--data.predict={shards / 'val'}"]
    for more, there in ((["--run.results=none"], False), ([], True)):
        main([str(word) for word in [*words, *sets, *more]])
        assert (trained / "predictions.json").is_file() == there
    assert not (trained / "results").exists()


def test_a_batch_that_two_processes_cannot_share_is_refused_once(shards, tmp_path):
    options = ("--trainer.devices=2", "--data.total_batch_size=5")
    result = run_command(*fit_arguments(shards, tmp_path / "run", *options), check=False)
    assert result.returncode == 2
    assert result.stderr.count("total_batch_size = 5 cannot be shared by 2 processes") == 1
    assert "Traceback" not in result.stderr


def test_an_unknown_word_gets_the_nearest(capsys):
    assert "Did you mean `validate`?" in complaint(capsys, "validat")


def test_the_best_checkpoint_is_told_by_the_metric_s_own_main_score(shards, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    options = (
        *("--model=lit_detseg.modules.RegionProposals", "--model.backbone=tiny_fpn"),
        *("--data=lit_detseg.data.ShapesDataModule", "--data.num_workers=0"),
        *(f"--data.train={shards / 'train'}", f"--data.val={shards / 'val'}"),
        *("--trainer.accelerator=cpu", "--trainer.max_steps=1", "--trainer.val_check_interval=1"),
    )
    main(["fit", *options, f"--run.dir={tmp_path / 'run'}"])
    best = RunDirectory(tmp_path / "run").attempts[-1]["best"]
    assert best["monitor"] == "val/recall_50_at_300"
    assert 0 <= best["score"] <= 1
    assert (tmp_path / "run/checkpoints/best.ckpt").is_file()

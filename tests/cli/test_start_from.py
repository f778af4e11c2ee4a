"""`run.start_from` on the command line: classes, pretrained files, and when it is looked at."""

import pytest
import torch
from jsonargparse import Namespace

from lit_detseg.cli.main import main
from lit_detseg.cli.start_from import check_classes_of_sources, spare_pretrained_file
from lit_detseg.errors import UserError
from lit_detseg.models.weights.pretrained import FROM_CHECKPOINT
from lit_detseg.runs.checkpoints import load_checkpoint, newest_valid_checkpoint, write_checkpoint
from lit_detseg.runs.start_from import Source
from lit_detseg.structures import LabelMap
from tests.e2e.commands import fit_arguments

CATS = LabelMap(("cat",))


def checkpoint(folder, names, classes=("dog",)):
    path = folder / "stored.ckpt"
    state = {f"model.{name}": torch.zeros(1) for name in names}
    extra = {"label_map": LabelMap(classes).to_json()}
    write_checkpoint({"state_dict": state, "lit_detseg": extra}, path)
    return path


def test_classes_matter_where_a_head_is_taken(tmp_path):
    path = checkpoint(tmp_path, ["backbone.w", "rpn.w", "roi_stage.w"])
    check_classes_of_sources(CATS, "shards", [Source(path, ("backbone", "rpn"))])
    with pytest.raises(UserError, match=r'label 0 is "cat" .*Take what .*:backbone,rpn\.'):
        check_classes_of_sources(CATS, "shards", [Source(path)])


def test_a_region_proposal_network_fits_any_classes(tmp_path):
    path = checkpoint(tmp_path, ["backbone.w", "rpn.w"])
    check_classes_of_sources(CATS, "shards", [Source(path)])


VGG, FPN = (
    {"backbone": name, "backbone_weights": "file.npz"} for name in ("vgg16", "resnet18_fpn")
)


@pytest.mark.parametrize(
    ("name", "arguments", "parts", "spared"),
    [
        pytest.param("FasterRCNN", VGG, [()], True, id="everything is taken"),
        pytest.param("FasterRCNN", FPN, [("backbone",)], True, id="the file fills the backbone"),
        pytest.param("FasterRCNN", FPN, [("rpn",)], False, id="it fills what is not taken"),
        pytest.param("FastRCNN", VGG, [("backbone",)], False, id="VGG-16's fills fc6 and fc7 too"),
        pytest.param(
            "FastRCNN", VGG, [("backbone",), ("roi_stage",)], True, id="which are taken, too"
        ),
        pytest.param("FastRCNN", VGG, [("backbone.stages",)], False, id="half a backbone"),
        pytest.param("RegionProposals", VGG, [("backbone",)], True, id="which it does not use"),
        pytest.param("FasterRCNN", VGG, [], False, id="nothing is taken"),
    ],
)
def test_a_pretrained_file_is_spared_when_all_it_fills_is_taken(
    tmp_path, name, arguments, parts, spared
):
    model = Namespace(class_path=f"lit_detseg.modules.{name}", init_args=Namespace(**arguments))
    spare_pretrained_file(model, [Source(tmp_path / "x.ckpt", one) for one in parts])
    expected = FROM_CHECKPOINT if spared else "file.npz"
    assert model.init_args.backbone_weights == expected


def test_a_new_run_starts_from_another_and_a_continued_one_does_not(shards, tmp_path, monkeypatch):
    """At a learning rate of 0 the weights stay what the run began with."""
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def fit(run, *more):
        options = ("--trainer.max_steps=1", "--data.num_workers=0", *more)
        main([str(one) for one in fit_arguments(shards, tmp_path / run, *options)])
        return load_checkpoint(newest_valid_checkpoint(tmp_path / run / "checkpoints"))[
            "state_dict"
        ]

    still = (
        "--model.optimizer=torch.optim.SGD",
        "--model.optimizer.lr=0",
        "--model.lr_scheduler=torch.optim.lr_scheduler.ConstantLR",
    )
    first = fit("first", "--seed_everything=1")
    second = fit("second", *still, f"--run.start_from={tmp_path / 'first'}:backbone,rpn")
    assert all(torch.equal(second[n], first[n]) for n in first if "roi_stage" not in n)
    assert any(not torch.equal(second[n], first[n]) for n in first if "roi_stage" in n)

    more = (f"--run.start_from={tmp_path / 'gone'}", "--ckpt_path=last", "--trainer.max_steps=2")
    again = fit("second", *still, *more)
    assert all(torch.equal(again[n], second[n]) for n in second)

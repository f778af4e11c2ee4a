"""`lit-detseg propose --checkpoint`: what a trained network proposes is what it would answer."""

import shutil

import numpy as np
import pytest
import torch

from lit_detseg.cli.main import main
from lit_detseg.cli.propose_trained import parse
from lit_detseg.data import ShapesDataModule
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.proposals.store import ProposalIndex
from lit_detseg.data.shards import ShardReader
from lit_detseg.errors import UserError
from lit_detseg.models.detectors.region_proposals import RegionProposalDetector
from lit_detseg.models.proposals import AnchorSettings, ProposalSettings
from lit_detseg.modules import DetectionModule, FasterRCNN
from lit_detseg.modules.original_size import to_original_size
from lit_detseg.runs.checkpoints import sha256_of, write_checkpoint
from lit_detseg.runs.start_from import Source, find_checkpoint, start_from
from tests.e2e.commands import fit_arguments, run_command
from tests.toy_detector import ToyDetector

CPU = "--trainer.accelerator=cpu"


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory):
    """A run of two steps of Faster R-CNN."""
    run = tmp_path_factory.mktemp("trained") / "run"
    run_command(*fit_arguments(shards, run, "--trainer.max_steps=2"))
    return run


@pytest.fixture
def images(shards, tmp_path):
    """A set that one may write beside."""
    shutil.copytree(shards / "val", tmp_path / "images")
    return tmp_path / "images"


def propose(images, trained, *more):
    options = (CPU, "--data.num_workers=0", *more)
    main(["propose", str(images), "--checkpoint", str(trained), *map(str, options)])


def expected_boxes(images, trained):
    """By hand: the network of the demo's recipe on every image, its 20 best boxes."""
    module = FasterRCNN(
        num_classes=3,
        backbone="tiny_fpn",
        anchors=AnchorSettings(sizes=((16.0,), (32.0,), (64.0,), (96.0,))),
        proposals=ProposalSettings(before_nms=300, after_nms=20, min_side=0.0),
        rpn_channels=64,
        head_width=256,
    )
    start_from(module, [Source(find_checkpoint(trained))])
    network = RegionProposalDetector(module.model.backbone, module.model.rpn).eval()
    data = ShapesDataModule(predict=str(images), total_batch_size=4, num_workers=0)
    boxes = {}
    for packed in data.predict_dataloader():
        batch = data.on_after_batch_transfer(packed, 0)
        with torch.no_grad():
            found = to_original_size(network(batch.images), batch.images, batch.targets)
        for one, target in zip(found, batch.targets, strict=True):
            boxes[target.image_id] = one.boxes.float().numpy()
    return boxes


def test_it_stores_what_the_network_answers_in_the_order_of_the_shards(images, trained):
    propose(images, trained, "--name", "rpn", "--model.proposals.after_nms=20")

    stored = ProposalReader(ShardReader(images), "rpn")
    expected = expected_boxes(images, trained)
    for sample, key in enumerate(stored.keys.tolist()):
        np.testing.assert_allclose(stored.boxes(sample), expected[key], atol=1e-3)
    index = ProposalIndex.read(images / "proposals/rpn")
    assert index.method == "region_proposal_network"
    assert index.options["checkpoint"] == sha256_of(find_checkpoint(trained))
    assert index.options["after_nms"] == 20


def test_two_ranks_propose_what_one_does(images, trained):
    for name, devices in (("one", 1), ("two", 2)):
        options = ("--checkpoint", trained, "--name", name, f"--trainer.devices={devices}", CPU)
        run_command("propose", images, *options)
    one, two = (ProposalReader(ShardReader(images), name) for name in ("one", "two"))
    assert one.counts.tolist() == two.counts.tolist()
    for sample in range(len(one.counts)):
        np.testing.assert_allclose(one.boxes(sample), two.boxes(sample), atol=1e-3)


def test_the_name_is_that_of_the_weights_and_is_not_used_for_others(images, trained, capsys):
    name = f"rpn-{sha256_of(find_checkpoint(trained))[:8]}"
    propose(images, trained)
    assert (images / "proposals" / name / "proposals.json").is_file()
    capsys.readouterr()

    propose(images, trained)  # there already
    assert "Proposing boxes" not in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        propose(images, trained, "--model.proposals.after_nms=5")
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "made otherwise (after_nms = 60 there, 5 here)" in said
    propose(images, trained, "--model.proposals.after_nms=5", "--overwrite")
    assert ProposalReader(ShardReader(images), name).counts.max() == 5


def test_a_model_without_a_region_proposal_network_is_refused(images, tmp_path, capsys):
    """Its configuration and weights are whole, but there is nothing that proposes."""
    config = (
        "model: {class_path: lit_detseg.modules.DetectionModule, init_args: {model: "
        "{class_path: tests.toy_detector.ToyDetector, init_args: {num_classes: 3}}}}\n"
        "data: {class_path: lit_detseg.data.ShapesDataModule, init_args: {num_workers: 0}}\n"
    )
    state = {"state_dict": DetectionModule(ToyDetector(3)).state_dict()}
    write_checkpoint({**state, "lit_detseg": {"config": config}}, tmp_path / "toy.ckpt")
    with pytest.raises(SystemExit):
        propose(images, tmp_path / "toy.ckpt")
    assert "has no region proposal network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["shards", "--checkpoint"], "--checkpoint needs a file", id="no checkpoint"),
        pytest.param(["shards", "--checkpoint=no.ckpt"], "There is no no.ckpt", id="not there"),
        pytest.param(["--checkpoint={}"], "Name the shards", id="no shards"),
        pytest.param(
            ["shards", "--checkpoint={}", "--name", "a/b"], "cannot be a name", id="a bad name"
        ),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_built(tmp_path, arguments, said):
    (tmp_path / "x.ckpt").write_bytes(b"")
    with pytest.raises(UserError, match=said):
        parse([argument.format(tmp_path / "x.ckpt") for argument in arguments])


def test_options_of_the_configuration_are_left_to_it(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"")
    own = ("a", "b", "--checkpoint", str(tmp_path / "x.ckpt"), "--overwrite", "--name=n")
    asked, others = parse([*own, "--trainer.devices", "2", "-c", "cpu.yaml"])
    assert asked.shards == ("a", "b")
    assert (asked.name, asked.overwrite) == ("n", True)
    assert others == ["--trainer.devices", "2", "-c", "cpu.yaml"]

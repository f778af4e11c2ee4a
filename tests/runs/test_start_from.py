"""Starting from other runs' weights: what is taken, what is new, what is refused."""

import pytest
import torch
from lightning import LightningModule

from lit_detseg.errors import UserError
from lit_detseg.modules import DetectionModule, RegionProposals
from lit_detseg.runs.checkpoints import write_checkpoint
from lit_detseg.runs.start_from import Source, find_sources, start_from
from lit_detseg.structures import LabelMap
from tests.tiny_detection import TinyBackbone, tiny_faster_rcnn


def module_of(seed, num_classes=3):
    """A tiny Faster R-CNN whose every number tells which seed it is of."""
    module = DetectionModule(tiny_faster_rcnn(num_classes))
    for parameter in module.parameters():
        torch.nn.init.constant_(parameter, seed)
    return module


def store(module, path, classes=None):
    label_map = None if classes is None else LabelMap(classes).to_json()
    extra = {"label_map": label_map}
    write_checkpoint({"state_dict": module.state_dict(), "lit_detseg": extra}, path)
    return path


@pytest.fixture
def one(tmp_path):
    return store(module_of(1), tmp_path / "one.ckpt", ("cat", "cow", "dog"))


@pytest.fixture
def two(tmp_path):
    return store(module_of(2), tmp_path / "two.ckpt")


def seeds_of(module):
    """The seed in each part of the model."""
    return {
        part: {p.mean().item() for p in child.parameters()}
        for part, child in module.model.named_children()
    }


def test_without_parts_everything_is_taken(one):
    module = module_of(9)
    said = start_from(module, find_sources(str(one)))
    assert seeds_of(module) == {"backbone": {1}, "rpn": {1}, "roi_stage": {1}}
    tensors = {part: len(child.state_dict()) for part, child in module.model.named_children()}
    assert said == [
        f"From {one}: {tensors['backbone']} tensors of backbone, {tensors['rpn']} of rpn, "
        f"{tensors['roi_stage']} of roi_stage."
    ]


def test_parts_of_several_runs_are_put_together_and_the_rest_is_new(one, two):
    module = module_of(9)
    said = start_from(module, find_sources([f"{one}:backbone", f"{two}:rpn.head.convs"]))
    assert seeds_of(module) == {"backbone": {1}, "rpn": {2, 9}, "roi_stage": {9}}
    assert said[1] == f"From {two}: 2 tensors of rpn."
    new = len(module.model.roi_stage.state_dict())
    assert said[2] == f"New: 4 tensors of rpn, {new} of roi_stage."


def test_the_later_of_two_runs_wins(one, two):
    module = module_of(9)
    start_from(module, find_sources([str(one), f"{two}:rpn"]))
    assert seeds_of(module) == {"backbone": {1}, "rpn": {2}, "roi_stage": {1}}


def test_the_pixel_statistics_come_with_the_backbone(tmp_path, two):
    """A network made from Caffe's weights wants Caffe's means, wherever it goes."""
    caffe = module_of(1)
    caffe.model.backbone.normalization.mean.fill_(104)
    path = store(caffe, tmp_path / "caffe.ckpt")
    module = module_of(9)
    start_from(module, find_sources(f"{path}:backbone"))
    assert (module.model.backbone.normalization.mean == 104).all()


def test_a_run_directory_stands_for_its_last_checkpoint(tmp_path):
    for step in (3, 12):
        store(module_of(step), tmp_path / f"run/checkpoints/step-{step:08d}.ckpt")
    (source,) = find_sources(f"{tmp_path / 'run'}:backbone,rpn")
    assert source == Source(tmp_path / "run/checkpoints/step-00000012.ckpt", ("backbone", "rpn"))


def test_a_module_without_a_model_is_filled_too(tmp_path):
    class Bare(LightningModule):
        def __init__(self, value):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            torch.nn.init.constant_(self.layer.weight, value)

    path = store(Bare(5.0), tmp_path / "bare.ckpt")
    module = Bare(0.0)
    start_from(module, find_sources(f"{path}:layer"))
    assert module.layer.weight.item() == 5


def proposals_only():
    module = RegionProposals(TinyBackbone(), anchors=tiny_faster_rcnn().rpn.anchors, rpn_channels=4)
    for parameter in module.parameters():
        torch.nn.init.constant_(parameter, 9)
    return module


@pytest.mark.parametrize(
    ("parts", "build", "said"),
    [
        pytest.param(
            "",
            lambda: module_of(9, num_classes=5),
            r"roi_stage\.head\.class_logits\.weight has shape \(4, 32\) instead of \(6, 32\)",
            id="heads of other classes",
        ),
        pytest.param(
            "",
            lambda: module_of(9, num_classes=5),
            r"The same in both are backbone, rpn: take such parts alone with .*:backbone,rpn\.",
            id="what would fit",
        ),
        pytest.param("", proposals_only, r"; and 9 more", id="five of the 4 + 10 problems"),
        pytest.param("", proposals_only, r"roi_stage\.\S+ is unexpected", id="unexpected"),
        pytest.param(
            ":rpn", proposals_only, r"rpn\.head\.convs\.0\.weight has shape", id="another width"
        ),
        pytest.param(
            ":backbon",
            lambda: module_of(9),
            r'has no part "backbon" \(nearest: "backbone"\)',
            id="no such part",
        ),
        pytest.param(
            ":roi_stage",
            proposals_only,
            r'the model has no part "roi_stage"',
            id="not in the model",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(one, parts, build, said):
    module = build()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(UserError, match=said):
        start_from(module, find_sources(f"{one}{parts}"))
    assert all(torch.equal(before[name], now) for name, now in module.state_dict().items())


def test_what_a_whole_run_lacks_is_missing(tmp_path):
    path = store(proposals_only(), tmp_path / "rpn.ckpt")
    module = DetectionModule(tiny_faster_rcnn(rpn={}))
    module.model.rpn = proposals_only().model.rpn
    with pytest.raises(UserError, match=r"roi_stage\.head\.\S+ is missing") as caught:
        start_from(module, find_sources(str(path)))
    assert "rpn.ckpt:backbone,rpn" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param("{}/none.ckpt:backbone", "There is no .*none.ckpt. Give", id="no file"),
        pytest.param("{}", "holds no checkpoint: is it", id="a run without any"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_built(tmp_path, given, said):
    with pytest.raises(UserError, match=said):
        find_sources(given.format(tmp_path))


def test_a_damaged_checkpoint_is_not_taken(one):
    one.write_bytes(one.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"one\.ckpt .* is damaged"):
        start_from(module_of(9), find_sources(str(one)))


def test_backbone_and_region_proposals_know_no_classes(one):
    assert not find_sources(f"{one}:backbone,rpn")[0].knows_classes()
    assert find_sources(f"{one}:backbone,roi_stage")[0].knows_classes()
    assert find_sources(str(one))[0].knows_classes()

"""The number of classes, from the shards to whatever asks for it."""

import pytest
from jsonargparse import Namespace

from lit_detseg.cli.classes import UNSTATED, fill_from_checkpoint, fill_num_classes
from lit_detseg.errors import UserError
from lit_detseg.structures import LabelMap

ANIMALS = LabelMap(("cat", "dog", "cow"))


def spec(class_path, **init_args):
    return Namespace(class_path=class_path, init_args=Namespace(**init_args))


@pytest.mark.parametrize("stated", [None, 1, UNSTATED, 3])
def test_a_detector_inside_a_module_gets_the_number_of_classes(stated):
    inner = spec("tests.toy_detector.ToyDetector", num_classes=stated)
    module = spec("lit_detseg.modules.DetectionModule", model=inner)
    fill_num_classes(module, ANIMALS, "shards/x")
    assert inner.init_args.num_classes == 3


def test_another_number_is_refused_by_name():
    module = spec("lit_detseg.modules.FasterRCNN", num_classes=20)
    with pytest.raises(UserError, match="num_classes = 20.*shards/x has 3 classes: cat, dog, cow"):
        fill_num_classes(module, ANIMALS, "shards/x")


def test_a_class_that_does_not_ask_is_left_alone():
    module = spec("torch.nn.Identity")
    fill_num_classes(module, ANIMALS, "shards/x")
    assert "num_classes" not in module.init_args


def test_a_checkpoint_stands_in_for_pretrained_weights():
    module = spec("lit_detseg.modules.FasterRCNN", backbone_weights="squeezenet.npz")
    scratch = spec("lit_detseg.modules.FasterRCNN", backbone_weights="none")
    fill_from_checkpoint(module)
    fill_from_checkpoint(scratch)
    assert module.init_args.backbone_weights == "from_checkpoint"
    assert scratch.init_args.backbone_weights == "none"


def test_it_does_so_in_the_detector_that_a_stage_is_for():
    system = spec("lit_detseg.modules.SPPNet", layer_weights="zf.npz", backbone_weights="zf.npz")
    fill_from_checkpoint(spec("lit_detseg.modules.RegionSVMs", system=system))
    fill_num_classes(spec("lit_detseg.modules.RegionSVMs", system=system), ANIMALS, "shards/x")
    assert system.init_args.layer_weights == "from_checkpoint"
    assert system.init_args.backbone_weights == "from_checkpoint"
    assert system.init_args.num_classes == 3

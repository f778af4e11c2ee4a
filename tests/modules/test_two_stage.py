"""What the LightningModule of Faster R-CNN fixes when nothing is said."""

import pytest
import torch

from lit_detseg.errors import UserError
from lit_detseg.models.backbones import build_backbone
from lit_detseg.models.proposals import AnchorSettings
from lit_detseg.modules import FasterRCNN


def test_one_feature_map_gets_the_paper_s_nine_anchors_and_loss():
    detector = FasterRCNN(num_classes=20, backbone="squeezenet1_0").model
    assert detector.rpn.anchors.sizes == ((128.0, 256.0, 512.0),)
    assert detector.rpn.head.objectness.out_channels == 9
    assert detector.rpn.head.convs[0].out_channels == 512
    assert detector.rpn.learning.balance == "paper"
    assert detector.rpn.learning.ignore_crossing
    assert detector.roi_stage.rois.pooling == "roi_pool"


def test_a_pyramid_gets_one_size_for_each_level_as_in_fpn():
    # Strides 4, 8, 16, 32, 64; 32 pixels on the finest: section 4.1 of arXiv:1612.03144.
    detector = FasterRCNN(num_classes=80, backbone="resnet18_fpn").model
    assert detector.rpn.anchors.sizes == ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
    assert detector.rpn.learning.balance == "released_code"
    assert detector.rpn.head.convs[0].out_channels == 256
    assert detector.roi_stage.rois.num_samples == 512
    assert detector.roi_stage.head.class_logits.out_features == 81


def test_what_is_given_wins():
    anchors = AnchorSettings(sizes=((8.0,), (16.0,), (32.0,), (64.0,)))
    module = FasterRCNN(num_classes=3, backbone="tiny_fpn", anchors=anchors, rpn_channels=64)
    assert module.model.rpn.anchors is anchors
    assert module.model.rpn.head.convs[0].out_channels == 64


def test_the_default_optimizer_is_the_paper_s():
    module = FasterRCNN(num_classes=3, backbone="tiny_fpn")
    optimizer = module.optimizer(module.parameters())
    assert isinstance(optimizer, torch.optim.SGD)
    chosen = {name: optimizer.defaults[name] for name in ("lr", "momentum", "weight_decay")}
    assert chosen == {"lr": 0.001, "momentum": 0.9, "weight_decay": 0.0005}  # section 3.1.3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param({"backbone": "tiny_fpn"}, "num_classes is missing", id="no classes"),
        pytest.param(
            {"num_classes": 3, "backbone": "object", "backbone_weights": "x.pth"},
            "this one was given as an object",
            id="weights for a backbone that is there already",
        ),
    ],
)
def test_what_cannot_be_is_refused(arguments, said):
    if arguments["backbone"] == "object":
        arguments["backbone"] = build_backbone("tiny_fpn")
    with pytest.raises(UserError, match=said):
        FasterRCNN(**arguments)

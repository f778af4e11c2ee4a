"""What the LightningModules of the two-stage detectors fix when nothing is said."""

import shutil

import pytest
import torch
from lightning import Trainer
from torchvision.ops import box_iou

from lit_detseg.data import ShapesDataModule
from lit_detseg.data.proposals.compute import compute_proposals
from lit_detseg.data.proposals.grid import Grid
from lit_detseg.errors import UserError
from lit_detseg.models.backbones import build_backbone
from lit_detseg.models.backbones.resnet import ResNetC4
from lit_detseg.models.proposals import AnchorSettings
from lit_detseg.modules import FasterRCNN, FastRCNN, MaskRCNN, RegionProposals
from lit_detseg.ops.box_coding import encode_boxes


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


def test_mask_rcnn_on_one_map_is_the_paper_s_c4():
    """64 RoIs of an image, 300 proposals in use, RoIAlign, five sizes of anchors."""
    detector = MaskRCNN(num_classes=80, backbone="resnet18_c4").model
    assert detector.rpn.anchors.sizes == ((32.0, 64.0, 128.0, 256.0, 512.0),)
    assert detector.rpn.head.objectness.out_channels == 15
    assert detector.rpn.proposals.after_nms == 300
    assert detector.roi_stage.rois.num_samples == 64
    assert detector.roi_stage.rois.pooling == detector.mask_stage.masks.pooling == "roi_align"
    assert len(detector.mask_stage.head.convs) == 0


def test_mask_rcnn_on_a_pyramid_is_the_paper_s_fpn():
    """512 RoIs of an image, 1000 proposals in use, 14 x 14 bins and four convolutions."""
    detector = MaskRCNN(num_classes=80, backbone="resnet18_fpn").model
    assert detector.roi_stage.rois.num_samples == 512
    assert detector.rpn.proposals.after_nms == 1000
    assert detector.mask_stage.strides == (4, 8, 16, 32)
    assert detector.mask_stage.masks.output_size == 14
    assert detector.mask_stage.head.logits.out_channels == 80


def test_fast_rcnn_takes_fc6_and_fc7_of_its_backbone():
    detector = FastRCNN(num_classes=20, backbone="vgg16").model
    assert detector.roi_stage.head.class_logits.in_features == 4096
    assert detector.roi_stage.rois.output_size == 7


def test_a_c4_network_of_detectron_is_judged_from_14_x_14_bins():
    detector = FasterRCNN(num_classes=3, backbone=ResNetC4("resnet18", res5_stride=2)).model
    assert detector.roi_stage.rois.output_size == 14


def test_region_proposals_alone_are_faster_rcnn_s_first_stage():
    alone, whole = (
        module(backbone="tiny_fpn", rpn_channels=8, **classes).model
        for module, classes in ((RegionProposals, {}), (FasterRCNN, {"num_classes": 3}))
    )
    assert alone.rpn.anchors == whole.rpn.anchors
    assert alone.rpn.learning == whole.rpn.learning
    assert alone.rpn.proposals == whole.rpn.proposals
    names = {name for name in whole.state_dict() if not name.startswith("roi_stage.")}
    assert set(alone.state_dict()) == names


def test_region_proposals_are_watched_by_their_recall():
    assert RegionProposals(backbone="tiny_fpn").metric.main_score == "recall_50_at_300"
    assert FasterRCNN(num_classes=3, backbone="tiny_fpn").metric.main_score == "map"


def test_biases_of_fast_rcnn_learn_twice_as_fast_as_its_paper_says():
    """Section 2.3: rate 1 for weights and 2 for biases; decay of both."""
    module = FastRCNN(num_classes=3, backbone="tiny_fpn", head_width=8)
    assert module.group_settings.bias_lr_factor == 2
    assert module.group_settings.bias_weight_decay


@pytest.fixture(scope="module")
def proposed(shards, tmp_path_factory):
    """The drawn training images with a grid of proposals."""
    folder = tmp_path_factory.mktemp("proposed") / "train"
    shutil.copytree(shards / "train", folder)
    compute_proposals(folder, Grid(levels=4), "grid")
    return folder


def fit_fast_rcnn(folder, tmp_path, **arguments):
    """One step, from the start or a checkpoint."""
    module = FastRCNN(num_classes=3, backbone="tiny_fpn", head_width=8)
    trainer = Trainer(
        max_steps=arguments.pop("max_steps", 1),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    data = ShapesDataModule(train=str(folder), proposals="grid", total_batch_size=4, num_workers=0)
    trainer.fit(module, datamodule=data, **arguments)
    return module.model.roi_stage, trainer


def test_fast_rcnn_measures_its_offsets_once_and_keeps_them(proposed, tmp_path):
    """The deviations are those of the offsets from the set's proposals to its objects."""
    stage, trainer = fit_fast_rcnn(proposed, tmp_path)
    images = ShapesDataModule(train=str(proposed), proposals="grid").regions_to_learn()
    offsets = []
    for proposals, boxes, labels in images:
        candidates = torch.cat([torch.from_numpy(proposals), torch.from_numpy(boxes)])
        iou, number = box_iou(candidates, torch.from_numpy(boxes)).max(dim=1)
        chosen = (iou >= 0.5) & (torch.from_numpy(labels)[number] == 1)
        offsets.append(encode_boxes(torch.from_numpy(boxes)[number[chosen]], candidates[chosen]))
    t_y = torch.cat(offsets)[:, 1]
    torch.testing.assert_close(stage.offset_std[2, 1], t_y.std(correction=0))
    torch.testing.assert_close(stage.offset_mean[2, 1], t_y.mean(), rtol=1e-4, atol=1e-6)

    trainer.save_checkpoint(tmp_path / "run.ckpt")
    # Measured again they would be the same: what is stored is changed, and has to stay so.
    stored = torch.load(tmp_path / "run.ckpt", weights_only=True)
    stored["state_dict"]["model.roi_stage.offset_std"].fill_(0.25)
    torch.save(stored, tmp_path / "changed.ckpt")
    stage, _ = fit_fast_rcnn(
        proposed, tmp_path, max_steps=2, ckpt_path=tmp_path / "changed.ckpt", weights_only=True
    )
    assert (stage.offset_std == 0.25).all()

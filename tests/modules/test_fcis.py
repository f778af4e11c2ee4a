"""What the LightningModule of FCIS fixes when nothing is said."""

import pytest

from lit_detseg.errors import UserError
from lit_detseg.models.fcis_settings import FCISRoISettings
from lit_detseg.modules import FCIS
from lit_detseg.modules.parameter_groups import parameter_groups


def test_the_defaults_are_those_of_the_paper_and_its_configuration_for_voc():
    module = FCIS(num_classes=20, backbone="resnet18_dc5")
    detector = module.model
    assert detector.stage.head.scores.out_channels == 2 * 49 * 21
    assert detector.stage.head.reduce.out_channels == 1024
    assert detector.rpn.head.objectness.out_channels == 9
    assert detector.rpn.head.convs[0].out_channels == 512
    assert detector.rpn.learning.balance == "released_code"
    proposals = detector.rpn.proposals
    assert (proposals.training_before_nms, proposals.training_after_nms) == (6000, 300)
    assert (proposals.before_nms, proposals.after_nms) == (6000, 300)
    optimizer = module.optimizer(module.parameters())
    chosen = {name: optimizer.defaults[name] for name in ("lr", "momentum", "weight_decay")}
    assert chosen == {"lr": 0.002, "momentum": 0.9, "weight_decay": 0.0005}


def test_what_is_given_wins():
    rois = FCISRoISettings(groups=3, cells=9, hidden_channels=64)
    detector = FCIS(num_classes=1, backbone="resnet18_dc5", rois=rois, rpn_channels=64).model
    assert detector.stage.rois is rois
    assert detector.stage.head.scores.out_channels == 2 * 9 * 2
    assert detector.rpn.head.convs[0].out_channels == 64


def test_the_first_new_layer_may_learn_three_times_as_fast():
    factors = {"stage.head.reduce": 3.0}
    module = FCIS(num_classes=20, backbone="resnet18_dc5", lr_factors=factors)
    groups = parameter_groups(module.model, module.group_settings)
    slow, fast = groups.parameters
    reduce = module.model.stage.head.reduce
    assert groups.factors == [1, 3]
    assert [id(one) for one in fast["params"]] == [id(reduce.weight), id(reduce.bias)]
    assert len(slow["params"]) + 2 == len(list(module.parameters()))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param({}, "num_classes is missing", id="no classes"),
        pytest.param({"num_classes": 3}, "FCIS judges regions on one map", id="a pyramid"),
    ],
)
def test_what_cannot_be_is_refused(arguments, said):
    with pytest.raises(UserError, match=said):
        FCIS(backbone="tiny_fpn", **arguments)

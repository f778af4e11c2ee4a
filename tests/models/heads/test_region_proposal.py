"""The layers of the region proposal network: their order of anchors and their first weights."""

import torch

from lit_detseg.models.heads.region_proposal import RegionProposalHead


def test_answers_stand_row_by_row_cell_by_cell_anchor_by_anchor():
    head = RegionProposalHead(1, num_anchors=2, hidden_channels=1)
    with torch.no_grad():
        for layer in (*head.convs, head.objectness, head.offsets):
            layer.weight.zero_()
        head.convs[0].weight[0, 0, 1, 1] = 1  # the cell itself
        head.objectness.weight[:, 0, 0, 0] = torch.tensor([1.0, 10.0])
        head.offsets.weight[:, 0, 0, 0] = torch.arange(8.0)

    objectness, offsets = head(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))

    assert objectness.tolist() == [[1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0]]
    assert offsets[0, 2].tolist() == [0.0, 2.0, 4.0, 6.0]  # cell 2, first anchor: 2 * (0, 1, 2, 3)
    assert offsets[0, 3].tolist() == [8.0, 10.0, 12.0, 14.0]


def test_new_layers_are_gaussian_of_deviation_one_hundredth():
    head = RegionProposalHead(64, num_anchors=9)
    for layer in (*head.convs, head.objectness, head.offsets):
        deviation = layer.weight.std().item()
        assert 0.009 < deviation < 0.011  # 4608 numbers or more: 1 % off is one deviation
        assert layer.bias.abs().sum() == 0

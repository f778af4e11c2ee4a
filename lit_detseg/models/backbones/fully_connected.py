"""fc6 and fc7: what AlexNet and its descendants have behind their last pooling."""

from collections import OrderedDict

from torch import nn


def fc6_fc7(num_inputs: int, width: int = 4096) -> nn.Sequential:
    """Two fully connected layers with ReLU and dropout, from maps or vectors to vectors.

    Parameters are named as in Caffe's models: `fc6.weight`, `fc6.bias`, `fc7.weight`, `fc7.bias`.

    Args:
        num_inputs: numbers in what is pooled, such as 256 x 6 x 6.
        width: of both layers.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for name, inputs in (("fc6", num_inputs), ("fc7", width)):
        layers[name] = nn.Linear(inputs, width)
        layers[f"relu_{name}"] = nn.ReLU(inplace=True)
        layers[f"dropout_{name}"] = nn.Dropout(0.5)
    return nn.Sequential(layers)

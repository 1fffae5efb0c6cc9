"""The network: one convolution by hand, the models of conf/, and their forward shapes."""

import numpy as np
import pytest
import torch
from torch import nn

from digits.model.geometry import Block, GeometryError, Head, Pool
from digits.model.network import Flatten, Network, convolution, normalise
from digits.model.spec import DataSpec
from digits.validation import resolve

from ..helpers import composed

MEAN, STD = 0.1307, 0.3081  # of MNIST


def test_one_convolution_by_hand() -> None:
    block = convolution(1, Block(channels=1, kernel_size=3, padding=1, pool=Pool("max", 2)))
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])  # neighbours minus 4 times the middle
    block.conv.weight.data = kernel.reshape(1, 1, 3, 3)
    block.conv.bias.data = torch.tensor([0.5])
    image = torch.tensor(
        [
            [1.0, 0.0, 0.0, 2.0],
            [0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 3.0, 0.0],
            [0.0, 0.0, 0.0, 0.0],
        ]
    )
    # Zeros around the image; neighbours minus four times the middle, plus 0.5; negative values become 0 ...
    #   0.0 1.5 2.5 0.0
    #   1.5 0.5 3.5 2.5
    #   0.5 3.5 0.0 3.5
    #   0.5 0.5 3.5 0.5
    # ... and the largest value of each 2×2 square is kept.
    assert block(image.reshape(1, 1, 4, 4))[0, 0].tolist() == [[1.5, 3.5], [3.5, 3.5]]


def test_pooling_comes_last_or_first() -> None:
    image = torch.tensor([[-4.0, 0.0], [0.0, 2.0]]).reshape(1, 1, 2, 2)
    averages = []
    for first in (False, True):
        block = convolution(1, Block(channels=1, kernel_size=1, pool=Pool("average", 2, first=first)))
        block.conv.weight.data = torch.ones(1, 1, 1, 1)
        block.conv.bias.data = torch.zeros(1)
        averages.append(block(image).item())
    assert averages == [0.5, 0.0]  # the mean of 0, 0, 0, 2; and the relu of the mean, -0.5


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("article", 3_199_106),
        ("mlp", 3_197_830),
        ("compact", 29_434),
        ("strided", 25_418),
        ("unpadded", 70_778),
        ("deep", 279_402),
    ],
)
def test_the_models_of_conf_have_their_parameters_and_output_shape(model: str, parameters: int) -> None:
    description = resolve(composed(f"model={model}")).model
    network = Network(description.blocks, description.head)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network(torch.zeros(2, 28, 28, dtype=torch.uint8)).shape == (2, 10)


def test_the_articles_layers_in_order() -> None:
    description = resolve(composed("model=article")).model
    kinds = [
        type(module)
        for module in Network(description.blocks, description.head).modules()
        if not list(module.children())
    ]
    conv = [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    assert kinds == [*conv, *conv, Flatten, nn.Dropout, nn.Linear, nn.Linear]  # no activation between the last two


def test_the_mlp_has_no_convolution_and_as_many_parameters_as_the_article() -> None:
    mlp = resolve(composed("model=mlp")).model
    network = Network(mlp.blocks, mlp.head)
    assert not any(isinstance(module, nn.Conv2d) for module in network.modules())
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(3_199_106, rel=0.001)


def test_the_error_for_an_impossible_network_names_the_layer() -> None:
    with pytest.raises(GeometryError, match="block 1, conv 40×40"):
        Network([Block(kernel_size=40, padding=0)], Head())


def test_normalise_by_hand() -> None:
    images = torch.tensor([[[0, 255], [51, 102]]], dtype=torch.uint8)
    expected = [[(0 - MEAN) / STD, (1 - MEAN) / STD], [(0.2 - MEAN) / STD, (0.4 - MEAN) / STD]]
    assert normalise(images, DataSpec()).shape == (1, 1, 2, 2)
    assert torch.allclose(normalise(images, DataSpec())[0, 0], torch.tensor(expected))
    assert images[0, 0, 1] == 255  # the input is unchanged


def test_normalise_does_the_same_as_torchvision() -> None:
    from torchvision.transforms.functional import normalize, to_tensor

    image = np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)
    expected = normalize(to_tensor(image[:, :, None]), [MEAN], [STD])
    assert torch.allclose(normalise(torch.from_numpy(image)[None], DataSpec())[0], expected, atol=1e-6)

"""Geometry against numbers worked out by hand, and against what torch really does."""

import itertools

import pytest
import torch
from torch import nn

from digits.model.geometry import Block, GeometryError, Head, Pool, layers, output_size
from digits.model.network import Flatten, Network
from digits.validation import resolve

from ..helpers import composed

NO_POOL = Pool(kind="none")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((28, 5, 1, 2), 28),  # the article's convolution
        ((28, 2, 2), 14),  # its pooling
        ((7, 2, 2), 3),  # the remaining pixel is ignored
        ((28, 3, 2, 1), 14),
        ((28, 3, 1, 0, 2), 24),  # dilation 2: the kernel spans 5
        ((28, 28), 1),
    ],
)
def test_output_size_by_hand(arguments: tuple[int, ...], expected: int) -> None:
    assert output_size(*arguments) == expected


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_output_size_equals_that_of_torch(kernel_size: int, dilation: int) -> None:
    for size, stride, padding in itertools.product((9, 14), (1, 2, 3), (0, 1, 2)):
        conv = nn.Conv2d(1, 1, kernel_size, stride, padding, dilation)
        shape = conv(torch.zeros(1, 1, size, size)).shape
        assert shape[-1] == output_size(size, kernel_size, stride, padding, dilation)


STACKS = [
    ([], Head(hidden=[30])),
    ([Block(channels=3, kernel_size=4, pool=NO_POOL)], Head()),  # an even kernel with padding same
    ([Block(channels=6, stride=2, padding=1, normalisation="batch"), Block(channels=5, padding="valid")], Head()),
    ([Block(channels=4, dilation=3, normalisation="batch", pool=Pool("average", 3, 1))], Head(0.1, [7, 6])),
    ([Block(channels=4, normalisation="batch", pool=Pool(first=True)), Block(pool=Pool("none", first=True))], Head()),
    ([Block(channels=2, kernel_size=5, padding=0, activation="gelu", pool=Pool("max", 3))], Head(hidden=[4])),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # it pads a copy
@pytest.mark.parametrize(("blocks", "head"), STACKS)
def test_layers_agree_with_the_network(blocks: list[Block], head: Head) -> None:
    table = layers(blocks, head)
    network = Network(blocks, head).eval()
    assert sum(layer.parameters for layer in table) == sum(parameter.numel() for parameter in network.parameters())

    shapes: list[tuple[int, ...]] = []
    counted = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, Flatten, nn.Linear)
    for module in network.modules():
        if isinstance(module, counted):
            module.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
    network(torch.zeros(1, 28, 28))
    assert [layer.shape for layer in table] == shapes


def test_the_articles_network() -> None:
    model = resolve(composed("model=article")).model
    table = layers(model.blocks, model.head)
    assert [layer.shape for layer in table] == [
        (32, 28, 28),
        (32, 14, 14),
        (64, 14, 14),
        (64, 7, 7),
        (3136,),
        (1000,),
        (10,),
    ]
    assert [layer.parameters for layer in table] == [832, 0, 51_264, 0, 0, 3_137_000, 10_010]
    assert [layer.multiply_adds for layer in table] == [
        28 * 28 * 32 * 25,
        0,
        14 * 14 * 64 * 25 * 32,
        0,
        0,
        3_136_000,
        10_000,
    ]
    assert [layer.receptive_field for layer in table] == [5, 6, 14, 16, 16, 28, 28]
    assert table[0].formula == "⌊(28 + 2·2 − 1·(5 − 1) − 1) / 1⌋ + 1 = 28"


def test_a_normalisation_is_listed_with_the_layer_before_it() -> None:
    conv, pool, *_ = layers([Block(channels=4, normalisation="batch", pool=Pool(first=True))], Head())
    assert (conv.name, conv.parameters) == ("conv 3×3, 1→4, padding same", 36)
    assert (pool.name, pool.parameters) == ("max-pool 2×2, stride 2, batch norm, relu", 8)


def test_the_receptive_field_is_the_extent_of_the_gradient() -> None:
    blocks = [Block(channels=1, kernel_size=3, padding=1, activation="none", pool=Pool("average", 2))] * 2
    network = Network(blocks, Head()).blocks
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    image = torch.zeros(1, 1, 28, 28, requires_grad=True)
    network(image)[0, 0, 3, 3].backward()
    assert image.grad is not None
    seen = image.grad[0, 0].nonzero()
    extent = seen.max(0).values - seen.min(0).values + 1
    expected = layers(blocks, Head())[3].receptive_field
    assert extent.tolist() == [expected, expected]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (Block(kernel_size=9, padding=0), ["block 2", "conv 9×9", "⌊(7 + 2·0 − 1·(9 − 1) − 1) / 1⌋ + 1", "spans 9"]),
        (Block(stride=8, padding=1), ["conv 3×3", "stride of 8", "7×7"]),
        (Block(stride=2), ["padding same", "stride=1"]),
        (Block(pool=Pool("max", 8)), ["max-pool 8×8", "padded input has 7"]),
        (Block(pool=Pool("max", 2, 8)), ["max-pool 2×2, stride 8", "leads past the image"]),
    ],
)
def test_a_stack_that_cannot_be_built_is_refused(block: Block, expected: list[str]) -> None:
    first = Block(channels=8, pool=Pool("max", 4))
    with pytest.raises(GeometryError) as error:
        layers([first, block], Head())
    for words in expected:
        assert words in str(error.value)


def test_too_many_layers_or_parameters_are_refused() -> None:
    with pytest.raises(GeometryError, match="0 blocks and 101 hidden layers: at most 100 of each"):
        layers([], Head(hidden=[1] * 101))
    with pytest.raises(
        GeometryError, match=r"784→1000000000000.*: 785,000,000,000,000 parameters; a layer has at most 1,073,741,824"
    ):
        layers([], Head(hidden=[10**12]))

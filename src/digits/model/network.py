"""The network: blocks of convolution and pooling, then fully connected layers. Plain torch, nothing of Lightning.

The shapes beside the lines are those of the article's network, ``conf/model/article.yaml``. Without blocks it is a
fully connected network, ``conf/model/mlp.yaml``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from digits.model.geometry import Block, Head, Pool, layers
from digits.model.spec import DataSpec, parse_spec

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
POOLS: dict[str, type[nn.MaxPool2d | nn.AvgPool2d]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class Network(nn.Module):
    """A convolutional network that classifies digits.

    Args:
        blocks: The convolutional blocks, first to last; an empty list makes a fully connected network.
        head: The fully connected layers after them.
        data: The classes and the pixels of the data; MNIST's by default.

    Raises:
        GeometryError: If the stack cannot be built.
    """

    def __init__(self, blocks: Sequence[Block], head: Head, data: DataSpec | None = None) -> None:
        super().__init__()
        self.data = data or DataSpec()
        layers(blocks, head, len(self.data.classes))  # its errors name the layer, unlike torch's
        channels = [1, *(block.channels for block in blocks)]
        self.blocks = nn.Sequential(*(convolution(n, block) for n, block in zip(channels, blocks, strict=False)))
        self.head = fully_connected(blocks, head, len(self.data.classes))

    def forward(self, images: Tensor) -> Tensor:
        """Classify digits.

        Args:
            images: (batch, 28, 28) uint8, or float of the same range: bright strokes on 0.

        Returns:
            Logits, (batch, classes) float.
        """
        pixels = normalise(images, self.data).to(next(self.parameters()).dtype)  # (batch, 1, 28, 28)
        features: Tensor = self.blocks(pixels)  # (batch, 64, 7, 7)
        logits: Tensor = self.head(features)  # (batch, 10)
        return logits


def normalise(images: Tensor, data: DataSpec) -> Tensor:
    """Scale pixels to mean 0 and standard deviation 1 over the training data.

    Args:
        images: (batch, 28, 28) uint8, or float of the same range.
        data: Mean and standard deviation.

    Returns:
        (batch, 1, 28, 28) float32.
    """
    return images.unsqueeze(1).float().sub(255 * data.mean).div_(255 * data.std)


def build_network(model: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> Network:
    """Build a network from plain values: ``blocks`` and ``head``, as in ``conf/model``, and those of a `DataSpec`."""
    return Network(*parse_model(model), parse_spec(data))


def parse_model(model: Mapping[str, Any]) -> tuple[list[Block], Head]:
    """Turn a plain description of a network into the arguments of `Network`."""
    blocks = [Block(**{**block, "pool": Pool(**block["pool"])}) for block in model["blocks"]]
    return blocks, Head(**model["head"])


def convolution(in_channels: int, block: Block) -> nn.Sequential:
    """One block: (batch, in_channels, height, width) to (batch, block.channels, height', width')."""
    sequence = nn.Sequential()
    sequence.conv = nn.Conv2d(
        in_channels,
        block.channels,
        block.kernel_size,
        block.stride,
        block.padding,
        block.dilation,
        bias=block.has_bias,
    )  # (batch, 32, 28, 28)
    if block.pools_first:
        sequence.pool = pooling(block.pool)
    if block.normalisation == "batch":
        sequence.norm = nn.BatchNorm2d(block.channels)
    if block.activation != "none":
        sequence.activation = ACTIVATIONS[block.activation]()
    if block.pool.kind != "none" and not block.pool.first:
        sequence.pool = pooling(block.pool)  # (batch, 32, 14, 14)
    return sequence


def pooling(pool: Pool) -> nn.Module:
    """(batch, channels, height, width) to (batch, channels, height', width')."""
    return POOLS[pool.kind](pool.kernel_size, pool.stride)


class Flatten(nn.Module):
    """Flattens feature maps, (batch, channels, height, width), pixel by pixel, to (batch, features).

    This is their order in memory in torch's format ``channels_last``: nothing is copied, and the gradient has the
    order in which the earlier layers are fast.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, height · width · channels)."""
        return features.permute(0, 2, 3, 1).flatten(1)


def fully_connected(blocks: Sequence[Block], head: Head, classes: int) -> nn.Sequential:
    """The layers after the blocks: (batch, channels, height, width) to logits, (batch, classes)."""
    sequence = nn.Sequential()
    sequence.flatten = Flatten()  # (batch, 3136)
    if head.dropout:
        sequence.dropout = nn.Dropout(head.dropout)
    (features,) = next(layer.shape for layer in layers(blocks, head) if len(layer.shape) == 1)
    for number, units in enumerate(head.hidden, start=1):
        sequence.add_module(f"hidden{number}", nn.Linear(features, units))  # (batch, 1000)
        if head.activation != "none":
            sequence.add_module(f"activation{number}", ACTIVATIONS[head.activation]())
        features = units
    sequence.classes = nn.Linear(features, classes)  # (batch, 10)
    return sequence

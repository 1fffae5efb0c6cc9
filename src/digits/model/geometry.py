"""Sizes, receptive fields, parameters and multiply-adds of a stack of layers, in whole numbers and without torch.

A network is a list of `Block` and a `Head`; `layers` works out what each of its layers does to a digit. The formulas
are those of `torch.nn.Conv2d` and of Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016),
https://arxiv.org/abs/1603.07285; the receptive field follows Araujo et al., "Computing receptive fields of
convolutional neural networks" (2019), https://distill.pub/2019/computing-receptive-fields.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Lt

IMAGE_SIZE = 28
MOST_LAYERS, MOST_PARAMETERS = 100, 2**30  # more is likely a mistake

ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "none")
NORMALISATIONS = ("batch", "none")
POOLINGS = ("max", "average", "none")


class GeometryError(ValueError):
    """A stack of layers that cannot be built; the message shows the layer, the formula and the numbers."""


class OneOf:
    """Annotates a configuration key with the words that it accepts; OmegaConf 2.3 has no ``Literal``."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Validate as a ``Literal`` of these words; pydantic calls this."""
        from pydantic_core import core_schema

        return core_schema.literal_schema(list(self.words))


@dataclass
class Pool:
    """Pooling after a convolution."""

    kind: Annotated[str, OneOf(*POOLINGS), "pooling"] = "max"
    kernel_size: Annotated[int, Ge(1), "pixels per side"] = 2
    stride: Annotated[Annotated[int, Ge(1)] | None, "pixels; null: the kernel size"] = None
    first: Annotated[bool, "before normalisation and activation, which then have fewer values to process"] = False


@dataclass
class Block:
    """A convolution, its normalisation and activation, and the pooling after or before them."""

    channels: Annotated[int, Ge(1), "feature maps in the output"] = 32
    kernel_size: Annotated[int, Ge(1), "pixels per side"] = 3
    stride: Annotated[int, Ge(1), "pixels"] = 1
    padding: Annotated[
        Annotated[int, Ge(0)] | Annotated[str, OneOf("same", "valid")], "pixels of zeros on each side, or a rule"
    ] = "same"
    dilation: Annotated[int, Ge(1), "pixels between neighbouring weights"] = 1
    normalisation: Annotated[str, OneOf(*NORMALISATIONS), "normalisation after the convolution"] = "none"
    activation: Annotated[str, OneOf(*ACTIVATIONS), "activation"] = "relu"
    pool: Pool = field(default_factory=Pool)

    @property
    def has_bias(self) -> bool:
        """Whether the convolution has a bias: the shift of a normalisation makes it redundant."""
        return self.normalisation == "none"

    @property
    def pools_first(self) -> bool:
        """Whether the pooling stands between the convolution and its normalisation."""
        return self.pool.kind != "none" and self.pool.first


@dataclass
class Head:
    """The fully connected layers that read the last feature maps."""

    dropout: Annotated[float, Ge(0), Lt(1), "fraction of the flattened values set to zero in training"] = 0.0
    hidden: Annotated[list[Annotated[int, Ge(1)]], "units of each hidden layer"] = field(default_factory=list)
    activation: Annotated[str, OneOf(*ACTIVATIONS), "activation after each hidden layer"] = "relu"


@dataclass(frozen=True)
class Layer:
    """What one layer does to a digit.

    Attributes:
        name: The layer in words, such as ``conv 5×5, 1→32, padding 2, relu``.
        shape: Shape of its output: (channels, height, width), or (features,).
        formula: How the output's height and width follow from the input's.
        receptive_field: Pixels per side of the image area that one output value depends on, including padding.
        parameters: Weights and biases.
        multiply_adds: Multiplications, each with an addition, for one digit.
    """

    name: str
    shape: tuple[int, ...]
    formula: str
    receptive_field: int
    parameters: int
    multiply_adds: int


def output_size(size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Pixels per side of the output of a convolution or a pooling.

    Args:
        size: Pixels per side of the input.
        kernel_size: Pixels per side of the kernel.
        stride: Pixels from one position of the kernel to the next.
        padding: Pixels of zeros on each side.
        dilation: Pixels from one weight of the kernel to the next.

    Raises:
        GeometryError: If the kernel does not fit into the padded input, or the stride leads past the image.
    """
    span = dilation * (kernel_size - 1) + 1
    if span > size + 2 * padding:
        reason = f"the kernel spans {span} pixels, and its padded input has {size + 2 * padding}"
    elif stride > size:
        reason = f"the stride of {stride} leads past the image of {size}×{size} pixels"
    else:
        return (size + 2 * padding - span) // stride + 1
    raise GeometryError(f"no output of size {formula(size, kernel_size, stride, padding, dilation)}: {reason}")


def formula(size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> str:
    """The formula of `output_size` with its numbers filled in: ``⌊(28 + 2·2 − 1·(5 − 1) − 1) / 1⌋ + 1``."""
    return f"⌊({size} + 2·{padding} − {dilation}·({kernel_size} − 1) − 1) / {stride}⌋ + 1"


def layers(blocks: Sequence[Block], head: Head, classes: int = 10) -> list[Layer]:
    """Work out every layer of a network for an image of 28×28 pixels.

    Raises:
        GeometryError: If a layer cannot be built; the message names it.
    """
    if max(len(blocks), len(head.hidden)) > MOST_LAYERS:
        raise GeometryError(
            f"{len(blocks)} blocks and {len(head.hidden)} hidden layers: at most {MOST_LAYERS} of each."
        )
    walk = _Walk()
    for number, block in enumerate(blocks, start=1):
        name = _conv_name(walk.channels, block)
        try:
            walk.convolve(block)
            if block.pool.kind != "none":
                walk.pool(block)
        except GeometryError as error:
            raise GeometryError(f"block {number}, {name}: {error}.") from error
    walk.flatten(head.dropout)
    for units in head.hidden:
        walk.connect(units, head.activation)
    walk.connect(classes, "none")
    for layer in walk.layers:
        if layer.parameters > MOST_PARAMETERS:
            raise GeometryError(
                f"{layer.name}: {layer.parameters:,} parameters; a layer has at most {MOST_PARAMETERS:,}."
            )
    return walk.layers


class _Walk:
    """The state while `layers` walks through the network."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.channels, self.size = 1, IMAGE_SIZE
        self.receptive_field, self.jump = 1, 1  # jump: pixels of the image from one value to its neighbour
        self.features = 0

    def convolve(self, block: Block) -> None:
        name = _conv_name(self.channels, block)
        if block.padding == "same":
            if block.stride != 1:
                raise GeometryError(
                    f"padding same keeps the size, ⌊({self.size} − 1) / {block.stride}⌋ + 1 = "
                    f"{(self.size - 1) // block.stride + 1} does not: set stride=1, or give the padding as a number"
                )
            size, how = self.size, f"same as the input: {self.size}"
        else:
            padding = 0 if isinstance(block.padding, str) else block.padding
            size, how = self._slide(block.kernel_size, block.stride, padding, block.dilation)
        weights = block.kernel_size**2 * self.channels * block.channels
        parameters = weights + block.channels * block.has_bias
        if not block.pools_first:
            parameters += _norm_parameters(block)
        self.channels = block.channels
        self._grow_receptive_field(block.dilation * (block.kernel_size - 1), block.stride)
        self._add(name, size, how, parameters, weights * size**2)

    def pool(self, block: Block) -> None:
        pool = block.pool
        stride = pool.stride or pool.kernel_size
        after = _norm_and_activation(block) if pool.first else ""
        name = f"{pool.kind}-pool {pool.kernel_size}×{pool.kernel_size}, stride {stride}{after}"
        try:
            size, how = self._slide(pool.kernel_size, stride)
        except GeometryError as error:
            raise GeometryError(f"{name}: {error}") from error
        self._grow_receptive_field(pool.kernel_size - 1, stride)
        self._add(name, size, how, _norm_parameters(block) if pool.first else 0, 0)

    def flatten(self, dropout: float) -> None:
        self.features = self.channels * self.size**2
        how = f"{self.channels}·{self.size}·{self.size} = {self.features}"
        name = f"flatten, dropout {dropout:g}" if dropout else "flatten"
        self.layers.append(Layer(name, (self.features,), how, self.receptive_field, 0, 0))

    def connect(self, units: int, activation: str) -> None:
        weights = self.features * units
        name = f"linear {self.features}→{units}{_and(activation)}"
        self.layers.append(Layer(name, (units,), f"{units} units", IMAGE_SIZE, weights + units, weights))
        self.features = units

    def _slide(self, kernel_size: int, stride: int, padding: int = 0, dilation: int = 1) -> tuple[int, str]:
        """The output's size, and the formula that gives it."""
        size = output_size(self.size, kernel_size, stride, padding, dilation)
        return size, f"{formula(self.size, kernel_size, stride, padding, dilation)} = {size}"

    def _grow_receptive_field(self, growth: int, stride: int) -> None:
        self.receptive_field += growth * self.jump
        self.jump *= stride

    def _add(self, name: str, size: int, how: str, parameters: int, multiply_adds: int) -> None:
        self.size = size
        shape = (self.channels, size, size)
        self.layers.append(Layer(name, shape, how, self.receptive_field, parameters, multiply_adds))


def _conv_name(in_channels: int, block: Block) -> str:
    stride = f", stride {block.stride}" if block.stride != 1 else ""
    dilation = f", dilation {block.dilation}" if block.dilation != 1 else ""
    after = "" if block.pools_first else _norm_and_activation(block)
    return (
        f"conv {block.kernel_size}×{block.kernel_size}, {in_channels}→{block.channels}{stride}, "
        f"padding {block.padding}{dilation}{after}"
    )


def _norm_and_activation(block: Block) -> str:
    normalisation = f", {block.normalisation} norm" if block.normalisation != "none" else ""
    return normalisation + _and(block.activation)


def _norm_parameters(block: Block) -> int:
    """A scale and a shift for each channel."""
    return 2 * block.channels if block.normalisation != "none" else 0


def _and(activation: str) -> str:
    return f", {activation}" if activation != "none" else ""

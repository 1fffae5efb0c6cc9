"""Describes a network as a list of steps with numbers, from which a page computes what torch computes."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from digits.model.geometry import IMAGE_SIZE, formula, output_size
from digits.model.network import ACTIVATIONS, Flatten, Network

ACTIVATION_NOTES = {
    "relu": ("ReLU", "Negative values become 0."),
    "leaky_relu": ("leaky ReLU", "Negative values are multiplied by 0.01."),
    "elu": ("ELU", "Each negative value x becomes eˣ − 1."),
    "gelu": ("GELU", "Each value x is multiplied by the probability that a normally distributed number is below x."),
    "silu": ("SiLU", "Each value x becomes x / (1 + e⁻ˣ)."),
    "tanh": ("tanh", "Each value becomes its hyperbolic tangent, between −1 and 1."),
    "sigmoid": ("sigmoid", "Each value x becomes 1 / (1 + e⁻ˣ), between 0 and 1."),
}
"""The name of each activation on the page, and what it does."""

LARGE = 4 * 2**20  # bytes of float32 weights, above which filters and matrices become float16
LARGEST_HALF = 65504.0  # of float16


@dataclass(frozen=True)
class Step:
    """What one layer does; one row of the page.

    Attributes:
        kind: The function of the page that computes it.
        title: The layer in words.
        shape: Of its output: (channels, height, width), or (features,).
        formula: How its height and width follow from those of the step before; empty if they stay the same.
        note: An explanation for learners.
        options: Numbers and words that the computation needs.
        arrays: Its weights, by torch's names.
        block: The number of its block, from 1; 0 outside of one.
    """

    kind: str
    title: str
    shape: tuple[int, ...]
    formula: str = ""
    note: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Tensor] = field(default_factory=dict)
    block: int = 0


def describe(network: Network) -> list[Step]:
    """Describe every layer of a network, from the pixels to the probabilities."""
    data = network.data
    shape: tuple[int, ...] = (1, IMAGE_SIZE, IMAGE_SIZE)
    steps = [
        Step("input", "Input", shape, note="The pixels, from 0 (black) to 255 (white)."),
        Step(
            "normalise",
            "Normalised pixels",
            shape,
            note=f"Divides each pixel by 255, subtracts the mean {data.mean:g} of the training pixels, and divides by "
            f"their standard deviation {data.std:g}.",
            options={"mean": data.mean, "std": data.std},
        ),
    ]
    for block, layer in _layers(network):
        step = DESCRIPTIONS[type(layer)](layer, steps[-1].shape)
        title = f"Block {block}: {step.title}" if block else step.title
        steps.append(replace(step, title=title, block=block))
    note = "e to the power of each output, divided by the sum of all: probabilities, whose sum is 1."
    return [*steps, Step("softmax", "Softmax", steps[-1].shape, note=note)]


def _layers(network: Network) -> Iterator[tuple[int, nn.Module]]:
    """The number of the block of each layer, and the layer."""
    blocks: Any = network.blocks  # torch does not type its content
    for number, block in enumerate(blocks, 1):
        for layer in block.children():
            yield number, layer
    for layer in network.head.children():
        yield 0, layer


def _convolution(layer: nn.Conv2d, shape: tuple[int, ...]) -> Step:
    channels, size, _ = shape
    kernel, stride, dilation = layer.kernel_size[0], layer.stride[0], layer.dilation[0]
    spread = dilation * (kernel - 1)
    if layer.padding == "same":
        before, out, how = spread // 2, size, f"padding same keeps the size: {size}"
    else:
        before = 0 if isinstance(layer.padding, str) else layer.padding[0]
        out = output_size(size, kernel, stride, before, dilation)
        how = f"{formula(size, kernel, stride, before, dilation)} = {out}"
    parameters = sum(weight.numel() for weight in layer.parameters())
    maps = f"{channels} channel" if channels == 1 else f"all {channels} channels"
    biased = " and a bias" if layer.bias is not None else ""
    padding = layer.padding if isinstance(layer.padding, str) else before
    dilated = f", dilation {dilation}" if dilation > 1 else ""
    return Step(
        "convolution",
        f"convolution {kernel}×{kernel}",
        (layer.out_channels, out, out),
        how,
        f"{layer.out_channels} filters make {layer.out_channels} feature maps. Each filter spans {maps} of its input: "
        f"{channels}·{kernel}·{kernel} weights{biased}, "
        f"{parameters:,} parameters in all. Stride {stride}, padding {padding}{dilated}.",
        {"kernel": kernel, "stride": stride, "before": before, "dilation": dilation},
        _arrays(layer, "weight", "bias"),
    )


def _pooling(layer: nn.MaxPool2d | nn.AvgPool2d, shape: tuple[int, ...]) -> Step:
    channels, size, _ = shape
    kernel, stride = (int(one if isinstance(one, int) else one[0]) for one in (layer.kernel_size, layer.stride))
    is_max = isinstance(layer, nn.MaxPool2d)
    out = output_size(size, kernel, stride)
    return Step(
        "max" if is_max else "average",
        f"{'max' if is_max else 'average'} pooling {kernel}×{kernel}",
        (channels, out, out),
        f"{formula(size, kernel, stride)} = {out}",
        f"The {'largest value' if is_max else 'mean'} of each window of {kernel}×{kernel}; stride {stride}. "
        "It has no parameters.",
        {"kernel": kernel, "stride": stride, "before": 0, "dilation": 1},
    )


def _batch_norm(layer: nn.BatchNorm2d, shape: tuple[int, ...]) -> Step:
    return Step(
        "norm",
        "batch normalisation",
        shape,
        note="Subtracts the map's mean in training, divides by its standard deviation there, multiplies by a learned "
        "scale, and adds a learned shift.",
        options={"eps": layer.eps},
        arrays=_arrays(layer, "running_mean", "running_var", "weight", "bias"),
    )


def _activation(layer: nn.Module, shape: tuple[int, ...]) -> Step:
    name = next(name for name, kind in ACTIVATIONS.items() if type(layer) is kind)
    title, note = ACTIVATION_NOTES[name]
    return Step("activation", title, shape, note=note, options={"function": name})


def _flatten(layer: nn.Module, shape: tuple[int, ...]) -> Step:
    channels, height, width = shape
    return Step(
        "flatten",
        "Flatten",
        (channels * height * width,),
        f"{channels}·{height}·{width} = {channels * height * width}",
        "All values of all maps in one list, pixel by pixel.",
    )


def _dropout(layer: nn.Dropout, shape: tuple[int, ...]) -> Step:
    note = f"In training it sets {100 * layer.p:g} % of the values to 0 at random. In a prediction it does nothing."
    return Step("dropout", f"Dropout {layer.p:g}", shape, note=note)


def _linear(layer: nn.Linear, shape: tuple[int, ...]) -> Step:
    parameters = sum(weight.numel() for weight in layer.parameters())
    return Step(
        "linear",
        f"Fully connected layer, {layer.in_features:,} → {layer.out_features:,}",
        (layer.out_features,),
        note=f"Each unit multiplies each of the {layer.in_features:,} values by its own weight, adds up the products, "
        f"and adds a bias: {parameters:,} parameters.",
        arrays=_arrays(layer, "weight", "bias"),
    )


def _arrays(layer: nn.Module, *names: str) -> dict[str, Tensor]:
    arrays = {name: getattr(layer, name) for name in names}
    return {name: array.detach() for name, array in arrays.items() if array is not None}


DESCRIPTIONS: dict[type[nn.Module], Callable[[Any, tuple[int, ...]], Step]] = {
    nn.Conv2d: _convolution,
    nn.MaxPool2d: _pooling,
    nn.AvgPool2d: _pooling,
    nn.BatchNorm2d: _batch_norm,
    Flatten: _flatten,
    nn.Dropout: _dropout,
    nn.Linear: _linear,
    **dict.fromkeys(ACTIVATIONS.values(), _activation),
}


def is_large(steps: list[Step]) -> bool:
    """Whether filters and matrices are embedded as float16."""
    return sum(4 * array.numel() for step in steps for array in step.arrays.values()) > LARGE


def pack(steps: list[Step]) -> bytes:
    """The weights of all steps, one after the other, little-endian float32; float16 for those that are rounded."""
    large = is_large(steps)
    arrays = (_embedded(array, large) for step in steps for array in step.arrays.values())
    return b"".join(array.contiguous().numpy().tobytes() for array in arrays)


def _embedded(array: Tensor, large: bool) -> Tensor:
    """Round the filters and matrices of a large network to float16; keep all else."""
    return array.clamp(-LARGEST_HALF, LARGEST_HALF).half() if large and array.dim() > 1 else array


def layout(steps: list[Step]) -> list[dict[str, Any]]:
    """The steps as plain values for JSON; each array is given by its place in the bytes of `pack`."""
    large, at, descriptions = is_large(steps), 0, []
    for step in steps:
        arrays = {}
        for name, array in step.arrays.items():
            array = _embedded(array, large)
            arrays[name] = {"at": at, "length": array.numel(), "half": array.dtype == torch.float16}
            at += array.nbytes
        descriptions.append(
            {
                "kind": step.kind,
                "title": step.title[0].upper() + step.title[1:],
                "shape": step.shape if len(step.shape) == 3 else (*step.shape, 1, 1),
                "formula": step.formula,
                "note": step.note,
                "arrays": arrays,
                **step.options,
            }
        )
    return descriptions


def embedded(network: Network) -> Network:
    """A copy of the network with the page's weights: rounded if it is large."""
    large = is_large(describe(network))
    rounded = copy.deepcopy(network)
    rounded.load_state_dict({name: _embedded(value, large).to(value) for name, value in network.state_dict().items()})
    return rounded


def largest_difference(network: Network, images: npt.NDArray[np.uint8]) -> float:
    """The largest change of a logit by the rounding of the weights, on images, (n, 28, 28) uint8."""
    with torch.inference_mode():
        exact, rounded = (net(torch.from_numpy(images.copy())) for net in (network, embedded(network)))
    return float((exact - rounded).abs().max())

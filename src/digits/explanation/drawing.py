"""Draws arrays: feature maps, filters, sizes, and the importance of pixels."""

import io
import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

Values = npt.NDArray[np.float32]

SIGNED, BRIGHT = "PuOr_r", "gray"  # everyone can tell purple and orange apart
BLUE, ORANGE = "#0072b2", "#d55e00"  # of Okabe and Ito's palette, for the same reason
INK = "#1f2328"  # text and axes; the report makes it the colour of the page's text
STYLE = mpl.rc_context(
    {
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "figure.titleweight": "bold",
        "figure.titlesize": 18,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
        "text.parse_math": False,  # a dollar in a name is a dollar
    }
)
"""Decorates functions that draw: one look for all figures."""

WIDTH = 12.0  # inches
DPI = 120
MAX_BARS = 10  # classes whose probabilities are drawn
MAPS_PER_ROW = 16
MAX_FILTERS = 64


def png(figure: Figure) -> bytes:
    """Encode a figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, facecolor="white")
    return file.getvalue()


def svg(figure: Figure) -> str:
    """Encode a figure as an SVG element that adapts to the text colour and the width of a page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    head, rest = text.split(">", 1)
    kept = [word for word in head.split() if not word.startswith(("width=", "height="))]
    return f'{" ".join(kept)} role="img">{rest}'


@STYLE
def digit(image: Values) -> Figure:
    """Draw the input, (28, 28)."""
    figure, axes = one_axes("The input: 28×28 pixels, 0 (black) to 255", 5.0, 5.4)
    _picture(axes, image, Normalize(0, 255), BRIGHT)
    return figure


@STYLE
def block(number: int, stages: Sequence[tuple[str, Values]]) -> Figure:
    """Draw all feature maps of a block, after each of its layers.

    Args:
        number: Number of the block, from 1.
        stages: Name of each layer, and its output, (channels, height, width).
    """
    heights = [_mosaic(maps).shape[0] / _mosaic(maps).shape[1] * (WIDTH - 1.6) for _, maps in stages]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.75 * len(stages) + 0.6), layout="constrained")
    figure.suptitle(f"Block {number}", x=0.01, ha="left")
    for axes, (name, maps) in zip(
        figure.subplots(len(stages), height_ratios=heights, squeeze=False)[:, 0], stages, strict=True
    ):
        channels, height, width = maps.shape
        axes.set_title(f"{name}: {channels} feature maps of {height}×{width}", fontsize=13, fontweight="normal")
        norm, colours = _scale(maps)
        _colour_bar(figure, axes, _picture(axes, _mosaic(maps), norm, colours))
    return figure


@STYLE
def filters(name: str, weights: Values) -> Figure:
    """Draw the filters of a layer, (number, height, width), or the first of them."""
    shown = weights[:MAX_FILTERS]
    note = f" (the first {len(shown)} of {len(weights)})" if len(shown) < len(weights) else ""
    mosaic = _mosaic(shown)
    figure, axes = one_axes(f"{name}{note}", WIDTH, mosaic.shape[0] / mosaic.shape[1] * (WIDTH - 1.5) + 0.9)
    norm, colours = _scale(weights, signed=True)
    _colour_bar(figure, axes, _picture(axes, mosaic, norm, colours))
    return figure


@STYLE
def pixels(image: Values, importance: Values, title: str) -> Figure:
    """Draw the input, (28, 28), and how much each pixel speaks for or against the prediction, (28, 28)."""
    figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    left, right = figure.subplots(1, 2)
    left.set_title("The input", fontsize=13, fontweight="normal")
    _picture(left, image, Normalize(0, 255), BRIGHT)
    right.set_title("Orange speaks for it, purple against it", fontsize=13, fontweight="normal")
    norm, colours = _scale(importance, signed=True)
    _colour_bar(figure, right, _picture(right, importance, norm, colours), 0.046)
    return figure


@STYLE
def augmentation(before: npt.NDArray[Any], after: Values) -> Figure:
    """Draw digits, (n, 28, 28), and augmented copies of each, (n, copies, 28, 28), in a row."""
    number, copies, side, _ = after.shape
    figure = Figure(figsize=(WIDTH, (WIDTH - 0.4) * number / (copies + 1.4) + 0.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, copies])
    for axes, title, images in ((left, "Before", before[:, None]), (right, "After, different each time", after)):
        axes.set_title(title, fontsize=15)
        _picture(axes, images.transpose(0, 2, 1, 3).reshape(number * side, -1), Normalize(0, 255), BRIGHT)
    return figure


@STYLE
def sizes(steps: Sequence[tuple[str, Values]], probabilities: Sequence[float], classes: Sequence[str]) -> Figure:
    """Draw the path of a digit through the layers, each layer's output at its size.

    Args:
        steps: Name of each layer, the input first, and its output: (channels, height, width), or (features,).
        probabilities: Probability of each class.
        classes: The name of each class; if there are more than ten, only the most likely are drawn.
    """
    gap, depth = 13.0, 1.6
    figure = Figure(figsize=(1.6 * len(steps) + 3.2, 4.6), layout="constrained")
    axes = figure.subplots()
    path = " → ".join(str(size) for size, _ in itertools.groupby(values.shape[-1] for _, values in steps))
    axes.set_title(f"The path of sizes: {path}", fontsize=18)
    x = 0.0
    for number, (name, values) in enumerate(steps):
        if values.ndim == 3:
            channels, height, width = values.shape
            values = values[np.argsort(-np.abs(values).sum((1, 2)), kind="stable")]  # the strongest in front
            stack = min(channels, 4)
            norm, colours = _scale(values)
            for place in reversed(range(stack)):
                left, bottom = x + depth * place, -height / 2 + depth * place
                extent = (left, left + width, bottom, bottom + height)
                axes.imshow(values[place], cmap=colours, norm=norm, extent=extent, zorder=10 - place)
                axes.add_patch(
                    patches.Rectangle((left, bottom), width, height, fill=False, ec=INK, lw=0.6, zorder=10 - place)
                )
            right, label = x + width + depth * (stack - 1), f"{channels} × {height}×{width}"
        else:
            norm, colours = _scale(values)
            axes.imshow(values[:, None], cmap=colours, norm=norm, extent=(x, x + 3, -14, 14), aspect="auto")
            axes.add_patch(patches.Rectangle((x, -14), 3, 28, fill=False, ec=INK, lw=0.6))
            right, label = x + 3, f"{len(values):,}"
        middle = (x + right) / 2
        axes.text(middle, -19, label, ha="center", va="top", fontsize=11, fontweight="bold")
        axes.text(middle, -23.5, name.replace(", ", "\n"), ha="center", va="top", fontsize=9)
        x = right + gap
        if number < len(steps) - 1:
            axes.annotate("", (x - 2, 0), (right + 2, 0), arrowprops={"arrowstyle": "->", "color": INK})
    _probability_bars(axes, right, probabilities, classes)
    axes.axis("off")
    return figure


def _probability_bars(axes: Axes, right: float, probabilities: Sequence[float], classes: Sequence[str]) -> None:
    """Draw a bar for the probability of each class, to the right of a position."""
    likely = sorted(sorted(range(len(classes)), key=lambda number: -probabilities[number])[:MAX_BARS])
    room = 1.2 * max(len(classes[number]) for number in likely) + 1.8
    for place, number in enumerate(likely):
        y, x = 14 - 28 * (place + 0.5) / len(likely), right + 1.5
        best = probabilities[number] == max(probabilities)
        axes.text(x, y, classes[number], va="center", fontsize=10, fontweight="bold" if best else "normal")
        bar = patches.Rectangle((x + room, y - 1), 14 * probabilities[number], 2, color=ORANGE if best else BLUE)
        axes.add_patch(bar)
    axes.text(right + room + 1.5, -19, "probability", ha="left", va="top", fontsize=11, fontweight="bold")
    axes.set(xlim=(-3, right + room + 18), ylim=(-29, 22), aspect="equal")


def one_axes(title: str, width: float, height: float, fontsize: int = 15) -> tuple[Figure, Axes]:
    """Create a figure of a size in inches, with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=fontsize)
    return figure, axes


def _picture(axes: Axes, values: Values, norm: Normalize, colours: str) -> Any:
    axes.axis("off")
    return axes.imshow(values, cmap=colours, norm=norm, interpolation="nearest")


def _colour_bar(figure: Figure, axes: Axes, picture: Any, fraction: float = 0.02) -> None:
    figure.colorbar(picture, ax=axes, fraction=fraction, pad=0.01)


def _scale(values: Values, signed: bool = False) -> tuple[Normalize, str]:
    """Grey from 0 up if no value is negative; otherwise two colours with white at 0."""
    largest = float(np.abs(values).max()) or 1.0
    if signed or values.min() < 0:
        return TwoSlopeNorm(0, -largest, largest), SIGNED
    return Normalize(0, largest), BRIGHT


def _mosaic(maps: Values) -> Values:
    """Arrange maps, (number, height, width), in rows, one pixel apart."""
    number, height, width = maps.shape
    columns = min(number, MAPS_PER_ROW)
    rows = -(-number // columns)
    mosaic = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan, dtype=np.float32)
    for place, values in enumerate(maps):
        row, column = divmod(place, columns)
        mosaic[row * (height + 1) :, column * (width + 1) :][:height, :width] = values
    return mosaic

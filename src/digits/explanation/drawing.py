"""Drawings, from arrays alone: feature maps, filters, sizes, pixels that mattered."""

import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

Values = npt.NDArray[np.float32]

SIGNED, BRIGHT = "PuOr_r", "gray"  # purple and orange tell apart for every kind of sight
BLUE, ORANGE = "#0072b2", "#d55e00"  # of Okabe and Ito's palette, for the same reason
INK = "#1f2328"  # text and axes; the report makes it the colour of the page's text
WIDTH = 12.0  # inches
DPI = 120
MAPS_A_ROW = 16
MOST_FILTERS = 64


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, facecolor="white")
    return file.getvalue()


def svg(figure: Figure) -> str:
    """A figure as an SVG element that takes the colour of the text around it, and the width of its place."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    head, rest = text.split(">", 1)
    kept = [word for word in head.split() if not word.startswith(("width=", "height="))]
    return f'{" ".join(kept)} role="img">{rest}'


def digit(image: Values) -> Figure:
    """The input, (28, 28), pixel by pixel."""
    figure, axes = one_axes("The input: 28×28 pixels, 0 (black) to 255", 5.0, 5.4)
    _picture(axes, image, Normalize(0, 255), BRIGHT)
    return figure


def block(number: int, stages: Sequence[tuple[str, Values]]) -> Figure:
    """Every feature map of a block, after each of its layers.

    Args:
        number: Of the block, from 1.
        stages: Name of each layer, and what comes out of it, (channels, height, width).
    """
    heights = [_mosaic(maps).shape[0] / _mosaic(maps).shape[1] * (WIDTH - 1.6) for _, maps in stages]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.75 * len(stages) + 0.6), layout="constrained")
    figure.suptitle(f"Block {number}", x=0.01, ha="left", fontsize=18, fontweight="bold", color=INK)
    for axes, (name, maps) in zip(
        figure.subplots(len(stages), height_ratios=heights, squeeze=False)[:, 0], stages, strict=True
    ):
        channels, height, width = maps.shape
        axes.set_title(f"{name}: {channels} feature maps of {height}×{width}", loc="left", fontsize=13, color=INK)
        norm, colours = _scale(maps)
        _bar(figure, axes, _picture(axes, _mosaic(maps), norm, colours))
    return figure


def filters(name: str, weights: Values) -> Figure:
    """The filters of a layer, (number, height, width), or the first of them."""
    shown = weights[:MOST_FILTERS]
    of = f" (the first {len(shown)} of {len(weights)})" if len(shown) < len(weights) else ""
    mosaic = _mosaic(shown)
    figure, axes = one_axes(f"{name}{of}", WIDTH, mosaic.shape[0] / mosaic.shape[1] * (WIDTH - 1.5) + 0.9)
    norm, colours = _scale(weights, signed=True)
    _bar(figure, axes, _picture(axes, mosaic, norm, colours))
    return figure


def pixels(image: Values, importance: Values, title: str) -> Figure:
    """The input, (28, 28), beside how much each pixel spoke for an answer, or against it."""
    figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=18, fontweight="bold", color=INK)
    left, right = figure.subplots(1, 2)
    left.set_title("The input", loc="left", fontsize=13, color=INK)
    _picture(left, image, Normalize(0, 255), BRIGHT)
    right.set_title("Orange speaks for it, purple against it", loc="left", fontsize=13, color=INK)
    norm, colours = _scale(importance, signed=True)
    _bar(figure, right, _picture(right, importance, norm, colours), 0.046)
    return figure


def augmentation(before: npt.NDArray[Any], after: Values) -> Figure:
    """Digits, (n, 28, 28), and changed copies of each, (n, copies, 28, 28), in a row."""
    number, copies, side, _ = after.shape
    figure = Figure(figsize=(WIDTH, (WIDTH - 0.4) * number / (copies + 1.4) + 0.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, copies])
    for axes, title, images in ((left, "Before", before[:, None]), (right, "After, each time another way", after)):
        axes.set_title(title, loc="left", fontsize=15, fontweight="bold", color=INK)
        _picture(axes, images.transpose(0, 2, 1, 3).reshape(number * side, -1), Normalize(0, 255), BRIGHT)
    return figure


def sizes(steps: Sequence[tuple[str, Values]], probabilities: Sequence[float]) -> Figure:
    """The way of a digit through the layers, every layer's output at its true size.

    Args:
        steps: Name of each layer, the input first, and its output: (channels, height, width), or (features,).
        probabilities: Of the ten digits.
    """
    gap, depth = 13.0, 1.6
    figure = Figure(figsize=(1.6 * len(steps) + 3.2, 4.6), layout="constrained")
    axes = figure.subplots()
    path = " → ".join(str(size) for size, _ in itertools.groupby(values.shape[-1] for _, values in steps))
    axes.set_title(f"The path of sizes: {path}", loc="left", fontsize=18, fontweight="bold", color=INK)
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
        axes.text(middle, -19, label, ha="center", va="top", fontsize=11, fontweight="bold", color=INK)
        axes.text(middle, -23.5, name.replace(", ", "\n"), ha="center", va="top", fontsize=9, color=INK)
        x = right + gap
        if number < len(steps) - 1:
            axes.annotate("", (x - 2, 0), (right + 2, 0), arrowprops={"arrowstyle": "->", "color": INK})
    for number, probability in enumerate(probabilities):
        y, x = 14 - 28 * (number + 0.5) / 10, right + 1.5
        best = probability == max(probabilities)
        axes.text(x, y, f"{number}", va="center", fontsize=10, color=INK, fontweight="bold" if best else "normal")
        axes.add_patch(patches.Rectangle((x + 3, y - 1), 14 * probability, 2, color=ORANGE if best else BLUE))
    axes.text(right + 4.5, -19, "probability", ha="left", va="top", fontsize=11, fontweight="bold", color=INK)
    axes.set(xlim=(-3, right + 21), ylim=(-29, 22), aspect="equal")
    axes.axis("off")
    return figure


def one_axes(title: str, width: float, height: float, fontsize: int = 15) -> tuple[Figure, Axes]:
    """A figure of a size in inches, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=fontsize, fontweight="bold", color=INK)
    return figure, axes


def _picture(axes: Axes, values: Values, norm: Normalize, colours: str) -> Any:
    axes.axis("off")
    return axes.imshow(values, cmap=colours, norm=norm, interpolation="nearest")


def _bar(figure: Figure, axes: Axes, picture: Any, share: float = 0.02) -> None:
    """What the colours mean."""
    bar = figure.colorbar(picture, ax=axes, fraction=share, pad=0.01)
    bar.ax.tick_params(colors=INK)


def _scale(values: Values, signed: bool = False) -> tuple[Normalize, str]:
    """Grey from 0 up where nothing is negative; otherwise two colours with white at 0."""
    largest = float(np.abs(values).max()) or 1.0
    if signed or values.min() < 0:
        return TwoSlopeNorm(0, -largest, largest), SIGNED
    return Normalize(0, largest), BRIGHT


def _mosaic(maps: Values) -> Values:
    """Maps, (number, height, width), side by side in rows, with a pixel between."""
    number, height, width = maps.shape
    columns = min(number, MAPS_A_ROW)
    rows = -(-number // columns)
    mosaic = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan, dtype=np.float32)
    for place, values in enumerate(maps):
        row, column = divmod(place, columns)
        mosaic[row * (height + 1) :, column * (width + 1) :][:height, :width] = values
    return mosaic

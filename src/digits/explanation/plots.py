"""Plots, from numbers alone: curves over epochs, calibration, and what a sweep has found."""

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from digits.explanation.drawing import BLUE, INK, ORANGE, one_axes

# Okabe and Ito's palette, without the yellow that white paper swallows: it tells apart for every kind of sight.
COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = "osD^vP*"
STYLES = ("-", "--", ":")
TOLD_APART = len(COLOURS) * len(STYLES)  # lines
OTHERS = "#b0b0b0"  # those beyond
DECADE = 10  # largest value over smallest from which an axis is logarithmic
MOST_TICKS = 10  # values of a key with a place each; more numbers lie where they are between the least and the most

Point = tuple[str, float, float]  # value of a key, mean of the metric, its standard deviation


def curves(title: str, unit: str, lines: Mapping[str, Sequence[tuple[float, float]]], log: bool = False) -> Figure:
    """One value over the epochs, from 1: a line for each name, of (epoch, value)."""
    figure, axes = one_axes(title, 5.6, 3.4, fontsize=12)
    for (name, points), colour, marker in zip(lines.items(), (BLUE, ORANGE), ("o", "s"), strict=False):
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, linewidth=1.6, label=name)
    axes.set(xlabel="epoch", ylabel=unit, yscale="log" if log else "linear")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain(axes)
    if len(lines) > 1:
        axes.legend(frameon=False, labelcolor=INK)
    return figure


def reliability(parts: Sequence[tuple[float, float, int]]) -> Figure:
    """How often answers are right, by how sure the network was: (confidence, accuracy, number of answers)."""
    figure, axes = one_axes("Right as often as sure?", 5.6, 4.2, fontsize=12)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--", label="perfectly calibrated")
    confidence, accuracy, numbers = (np.array(column) for column in zip(*parts, strict=True))
    area = 15 + 250 * numbers / numbers.max()
    axes.scatter(confidence, accuracy, s=area, color=BLUE, alpha=0.75, label="answers (area: how many)", zorder=3)
    axes.set(xlabel="mean confidence", ylabel="share that is right", xlim=(0, 1.03), ylim=(0, 1.05))
    _plain(axes)
    axes.legend(frameon=False, labelcolor=INK, loc="upper left")
    return figure


def against(key: str, metric: str, lines: Mapping[str, Sequence[Point]], joined: bool = True) -> Figure:
    """A metric against the values of a key: a line for each name, with the standard deviation over seeds as bars.

    The axis is logarithmic where the values span a decade, and shows words where they are no numbers.
    """
    figure, axes = one_axes(f"{metric} by {key}", 6.4, 4.0, fontsize=12)
    values = _in_order({value for points in lines.values() for value, *_ in points})
    numbers = [number for value in values if (number := _number(value)) is not None]
    numeric = len(numbers) == len(values)
    for place, (name, points) in enumerate(lines.items()):
        ordered = sorted(points, key=lambda point: values.index(point[0]))
        xs = [float(value) if numeric else values.index(value) for value, *_ in ordered]
        ys, stds = [mean for _, mean, _ in ordered], [std for *_, std in ordered]
        (line,) = axes.plot(xs, ys, color=_colour(place), markersize=5, label=name)
        line.set(marker=MARKERS[place % len(MARKERS)], linestyle=_style(place) if joined else "none")
        if any(stds):
            axes.errorbar(xs, ys, yerr=stds, color=_colour(place), fmt="none", capsize=3)
    axes.set(xlabel=key, ylabel="%")
    if not numeric:
        axes.set_xticks(range(len(values)), values)
    elif _spans_decades(numbers):
        axes.set_xscale("log")
    _plain(axes)
    _legend(figure, axes, len(lines))
    return figure


def together(title: str, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> Figure:
    """The curves of many trainings, over the epochs from 1, the best first: those of one name in one colour."""
    figure, axes = one_axes(title, 7.2, 4.4, fontsize=12)
    names = list(dict.fromkeys(name for name, _ in lines))
    for name, points in reversed(lines):
        xs, ys = zip(*points, strict=True)
        place = names.index(name)
        (line,) = axes.plot(xs, ys, color=_colour(place), linewidth=1.2, linestyle=_style(place))
        line.set_marker("o" if len(xs) == 1 else "none")
    for place, name in enumerate(names[:TOLD_APART]):
        axes.plot([], [], color=_colour(place), linestyle=_style(place), label=name)
    if len(names) > TOLD_APART:
        axes.plot([], [], color=OTHERS, label=f"{len(names) - TOLD_APART} others")
    axes.set(xlabel="epoch", ylabel="%")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain(axes)
    _legend(figure, axes, len(names))
    return figure


def parallel(metric: str, keys: Sequence[str], rows: Sequence[tuple[Sequence[str], float]]) -> Figure:
    """Several keys side by side: a line for each configuration, through its values, in the colour of its metric.

    The values of a key have a place each; where they are many numbers, they lie on an axis.
    """
    figure, axes = one_axes(f"{metric} of {len(rows)} configurations", 2.4 * len(keys) + 2.2, 4.6, fontsize=12)
    scales = [_Scale({values[place] for values, _ in rows}) for place in range(len(keys))]
    norm = Normalize(min(score for _, score in rows), max(score for _, score in rows))
    colours = mpl.colormaps["viridis"]
    for values, score in sorted(rows, key=lambda row: row[1]):
        ys = [scale.places[value] for scale, value in zip(scales, values, strict=True)]
        axes.plot(range(len(keys)), ys, color=colours(norm(score)), linewidth=2, alpha=0.85)
    for place, scale in enumerate(scales):
        axes.axvline(place, color=INK, linewidth=0.8)
        for height, told in scale.ticks:
            axes.text(place + 0.03, height, told, color=INK, fontsize=9, va="bottom")
    axes.set_xticks(range(len(keys)), keys)
    axes.set(yticks=[], ylim=(-0.04, 1.08), xlim=(-0.1, len(keys) - 0.6))
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, label="%", pad=0.02)
    bar.ax.tick_params(colors=INK)
    return figure


def panels(unit: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """A share of 1, shown in percent, against what each panel is named by: a panel for each line, of (x, share)."""
    columns = 3
    rows = math.ceil(len(lines) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.8 * rows), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(rows, columns, sharey=True).flat, lines.items(), strict=False):
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, [100 * share for share in ys], color=BLUE, marker="o", markersize=4)
        axes.set(xlabel=name, ylim=(0, 103))
        axes.set_ylabel(unit if axes.get_subplotspec().is_first_col() else "")
        axes.grid(axis="y", color=OTHERS, linewidth=0.5)
        _plain(axes)
    return figure


def gaps(title: str, ends: tuple[str, str], rows: Sequence[tuple[str, float, float]]) -> Figure:
    """Two percentages a row, and what lies between them: name, and the values of the two ends."""
    figure, axes = one_axes(title, 8.0, 0.7 * len(rows) + 1.5, fontsize=12)
    for place, (_, left, right) in enumerate(reversed(rows)):
        axes.plot([left, right], [place, place], color=OTHERS, linewidth=4, zorder=1)
        axes.annotate(f"{right - left:.2f}", ((left + right) / 2, place), (0, 6), textcoords="offset points",
                      ha="center", color=INK, fontsize=9)  # fmt: skip
    for number, (name, colour, marker) in enumerate(zip(ends, (ORANGE, BLUE), "os", strict=True), start=1):
        values = [row[number] for row in reversed(rows)]
        axes.scatter(values, range(len(rows)), color=colour, marker=marker, s=45, zorder=2, label=name)
    axes.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    axes.set(xlabel="%", ylim=(-0.6, len(rows) - 0.2))
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    _plain(axes)
    return figure


def shares(title: str, parts: Mapping[str, float]) -> Figure:
    """A bar for each of several shares of 1, the largest on top."""
    figure, axes = one_axes(title, 6.4, 0.5 * len(parts) + 1.2, fontsize=12)
    ordered = sorted(parts.items(), key=lambda item: item[1])
    bars = axes.barh([name for name, _ in ordered], [100 * share for _, share in ordered], color=BLUE, height=0.6)
    axes.bar_label(bars, fmt="%.0f %%", padding=3, color=INK)
    axes.set(xlim=(0, 110), xticks=[])
    _plain(axes)
    axes.spines["bottom"].set_visible(False)
    return figure


class _Scale:
    """Heights, 0 to 1, of the values of a key, and of what is written beside them."""

    def __init__(self, values: set[str]) -> None:
        ordered = _in_order(values)
        numbers = [number for value in ordered if (number := _number(value)) is not None]
        if len(ordered) <= MOST_TICKS or len(numbers) < len(ordered):
            self.places = {value: place / max(len(ordered) - 1, 1) for place, value in enumerate(ordered)}
            self.ticks = [(height, value) for value, height in self.places.items()]
            return
        log = _spans_decades(numbers)
        low, high = ((math.log(end) if log else end) for end in (numbers[0], numbers[-1]))
        self.places = {
            value: ((math.log(number) if log else number) - low) / (high - low)
            for value, number in zip(ordered, numbers, strict=True)
        }
        middles = [(height, low + height * (high - low)) for height in (0, 0.25, 0.5, 0.75, 1)]
        self.ticks = [(height, f"{math.exp(middle) if log else middle:.3g}") for height, middle in middles]


def _spans_decades(numbers: Sequence[float]) -> bool:
    return min(numbers) > 0 and max(numbers) >= DECADE * min(numbers)


def _in_order(values: set[str]) -> list[str]:
    """Numbers by their size, before words."""
    return sorted(values, key=lambda value: (math.inf if (number := _number(value)) is None else number, value))


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)] if place < TOLD_APART else OTHERS


def _style(place: int) -> str:
    return STYLES[place // len(COLOURS)] if place < TOLD_APART else "-"


def _legend(figure: Figure, axes: Axes, names: int) -> None:
    """In the plot, or beside it where there are many lines."""
    if 1 < names <= len(COLOURS):
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    elif names > 1:
        figure.set_figwidth(figure.get_figwidth() + 3)
        figure.legend(frameon=False, labelcolor=INK, fontsize=8, loc="outside right upper")


def _plain(axes: Axes) -> None:
    """Only the two axes that are read."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(which="both", colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)

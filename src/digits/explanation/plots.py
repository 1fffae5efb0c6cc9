"""Plots numbers: curves over epochs, calibration, and the results of sweeps."""

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from digits.explanation.drawing import BLUE, INK, ORANGE, STYLE, one_axes

# Okabe and Ito's palette, which everyone can tell apart; without its yellow, which is hard to see on white.
COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = "osD^vP*"
STYLES = ("-", "--", ":")
DISTINCT_LINES = len(COLOURS) * len(STYLES)
GREY = "#b0b0b0"  # of all further lines
DECADE = 10  # an axis is logarithmic if the largest value is at least this multiple of the smallest
MAX_TICKS = 10  # values of a key at equal distances; more numbers are placed by their size

Point = tuple[str, float, float]  # value of a key, mean of the metric, its standard deviation


@STYLE
def curves(title: str, unit: str, lines: Mapping[str, Sequence[tuple[float, float]]], log: bool = False) -> Figure:
    """Plot a metric over the epochs, from 1: a line per name, of (epoch, value)."""
    figure, axes = one_axes(title, 5.6, 3.4, fontsize=12)
    for (name, points), colour, marker in zip(lines.items(), (BLUE, ORANGE), ("o", "s"), strict=False):
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, linewidth=1.6, label=name)
    axes.set(xlabel="epoch", ylabel=unit, yscale="log" if log else "linear")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(lines) > 1:
        axes.legend()
    return figure


@STYLE
def reliability(parts: Sequence[tuple[float, float, int]]) -> Figure:
    """Plot the calibration: bins of (mean confidence, accuracy, number of predictions)."""
    figure, axes = one_axes("Is the confidence justified?", 5.6, 4.2, fontsize=12)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--", label="perfectly calibrated")
    confidence, accuracy, numbers = (np.array(column) for column in zip(*parts, strict=True))
    area = 15 + 250 * numbers / numbers.max()
    axes.scatter(confidence, accuracy, s=area, color=BLUE, alpha=0.75, label="predictions (area: number)", zorder=3)
    axes.set(xlabel="mean confidence", ylabel="accuracy", xlim=(0, 1.03), ylim=(0, 1.05))
    axes.legend(loc="upper left")
    return figure


@STYLE
def against(key: str, metric: str, lines: Mapping[str, Sequence[Point]], joined: bool = True) -> Figure:
    """Plot a metric against the values of a key: a line per name, with the standard deviation over seeds as bars.

    The axis is logarithmic if the values span a decade, and shows words if they are not numbers.
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
    _legend(figure, axes, len(lines))
    return figure


@STYLE
def together(title: str, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> Figure:
    """Plot the curves of many trainings over the epochs from 1, the best first; one colour per name."""
    figure, axes = one_axes(title, 7.2, 4.4, fontsize=12)
    names = list(dict.fromkeys(name for name, _ in lines))
    for name, points in reversed(lines):
        xs, ys = zip(*points, strict=True)
        place = names.index(name)
        (line,) = axes.plot(xs, ys, color=_colour(place), linewidth=1.2, linestyle=_style(place))
        line.set_marker("o" if len(xs) == 1 else "none")
    for place, name in enumerate(names[:DISTINCT_LINES]):
        axes.plot([], [], color=_colour(place), linestyle=_style(place), label=name)
    if len(names) > DISTINCT_LINES:
        axes.plot([], [], color=GREY, label=f"{len(names) - DISTINCT_LINES} others")
    axes.set(xlabel="epoch", ylabel="%")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, axes, len(names))
    return figure


@STYLE
def parallel(metric: str, keys: Sequence[str], rows: Sequence[tuple[Sequence[str], float]]) -> Figure:
    """Plot parallel coordinates: a line per configuration through the values of its keys, coloured by the metric.

    Few values of a key are at equal distances; many numbers are on a continuous axis.
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
        for height, text in scale.ticks:
            axes.text(place + 0.03, height, text, fontsize=9, va="bottom")
    axes.set_xticks(range(len(keys)), keys)
    axes.set(yticks=[], ylim=(-0.04, 1.08), xlim=(-0.1, len(keys) - 0.6))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(ScalarMappable(norm, colours), ax=axes, label="%", pad=0.02)
    return figure


@STYLE
def panels(unit: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Plot fractions in percent, a panel per line of (x, fraction), labelled with its name."""
    columns = 3
    rows = math.ceil(len(lines) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.8 * rows), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(rows, columns, sharey=True).flat, lines.items(), strict=False):
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, [100 * y for y in ys], color=BLUE, marker="o", markersize=4)
        axes.set(xlabel=name, ylim=(0, 103))
        axes.set_ylabel(unit if axes.get_subplotspec().is_first_col() else "")
        axes.grid(axis="y", color=GREY, linewidth=0.5)
    return figure


@STYLE
def gaps(title: str, ends: tuple[str, str], rows: Sequence[tuple[str, float, float]]) -> Figure:
    """Plot two percentages per row and their difference: (name, first, second)."""
    figure, axes = one_axes(title, 8.0, 0.7 * len(rows) + 1.5, fontsize=12)
    for place, (_, left, right) in enumerate(reversed(rows)):
        axes.plot([left, right], [place, place], color=GREY, linewidth=4, zorder=1)
        axes.annotate(f"{right - left:.2f}", ((left + right) / 2, place), (0, 6), textcoords="offset points",
                      ha="center", fontsize=9)  # fmt: skip
    for number, (name, colour, marker) in enumerate(zip(ends, (ORANGE, BLUE), "os", strict=True), start=1):
        values = [row[number] for row in reversed(rows)]
        axes.scatter(values, range(len(rows)), color=colour, marker=marker, s=45, zorder=2, label=name)
    axes.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    axes.set(xlabel="%", ylim=(-0.6, len(rows) - 0.2))
    axes.legend(fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return figure


@STYLE
def bars(title: str, fractions: Mapping[str, float]) -> Figure:
    """Plot a bar per fraction, in percent, the largest on top."""
    figure, axes = one_axes(title, 6.4, 0.5 * len(fractions) + 1.2, fontsize=12)
    ordered = sorted(fractions.items(), key=lambda item: item[1])
    drawn = axes.barh([name for name, _ in ordered], [100 * value for _, value in ordered], color=BLUE, height=0.6)
    axes.bar_label(drawn, fmt="%.0f %%", padding=3)
    axes.set(xlim=(0, 110), xticks=[])
    axes.spines["bottom"].set_visible(False)
    return figure


class _Scale:
    """Maps the values of a key to heights from 0 to 1, with labels."""

    def __init__(self, values: set[str]) -> None:
        ordered = _in_order(values)
        numbers = [number for value in ordered if (number := _number(value)) is not None]
        if len(ordered) <= MAX_TICKS or len(numbers) < len(ordered):
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
    """Sort numbers by size, before words."""
    return sorted(values, key=lambda value: (math.inf if (number := _number(value)) is None else number, value))


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)] if place < DISTINCT_LINES else GREY


def _style(place: int) -> str:
    return STYLES[place // len(COLOURS)] if place < DISTINCT_LINES else "-"


def _legend(figure: Figure, axes: Axes, names: int) -> None:
    """Add a legend in the plot, or beside it if there are many lines."""
    if 1 < names <= len(COLOURS):
        axes.legend(fontsize=9)
    elif names > 1:
        figure.set_figwidth(figure.get_figwidth() + 3)
        figure.legend(fontsize=8, loc="outside right upper")

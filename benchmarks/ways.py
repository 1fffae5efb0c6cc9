"""Digits as some people write them and MNIST rarely shows them: a 1 with a serif, a 6 with a hook, square digits."""

import itertools
import math
from collections.abc import Callable

import numpy as np
from drawings import Point, Stroke, arc, on_paper
from PIL import Image

Way = Callable[[np.random.Generator], list[Stroke]]


def _straight(*points: Point) -> list[Stroke]:
    return list(itertools.pairwise(points))


def _serif(rng: np.random.Generator) -> list[Stroke]:
    length, angle = rng.uniform(0.25, 0.75), math.radians(rng.uniform(38, 65))
    return _straight((0.6 - length * math.cos(angle), length * math.sin(angle)), (0.6, 0), (0.6, 1))


def _open_four(rng: np.random.Generator) -> list[Stroke]:
    width, bar = rng.uniform(0.45, 0.7), rng.uniform(0.5, 0.7)
    return [*_straight((0.1, 0), (0, bar), (width, bar)), ((0.8 * width, rng.uniform(0, 0.3)), (0.8 * width, 1))]


def _closed_four(rng: np.random.Generator) -> list[Stroke]:
    width, bar = rng.uniform(0.45, 0.7), rng.uniform(0.5, 0.7)
    return _straight((1.2 * width, bar), (0, bar), (0.8 * width, 0), (0.8 * width, 1))


def _seven(rng: np.random.Generator) -> list[Stroke]:
    width = rng.uniform(0.5, 0.8)
    return [*_straight((0, 0), (width, 0), (0.45 * width, 1)), ((0.3 * width, 0.5), (1.1 * width, 0.5))]


def _hooked_six(rng: np.random.Generator) -> list[Stroke]:
    width, middle, hook = rng.uniform(0.4, 0.7), rng.uniform(0.35, 0.55), rng.uniform(0.2, 0.7)
    loop = arc(width / 2, (1 + middle) / 2, width / 2, (1 - middle) / 2, 180, 540)
    return [*_straight((hook, 0), (0, 0), loop[0]), loop]


def _square(*corners: str) -> Way:
    """A digit of straight lines through corners, such as ``ul``: upper, middle or lower, then left or right."""

    def strokes(rng: np.random.Generator) -> list[Stroke]:
        x = {"l": 0.0, "r": rng.uniform(0.4, 0.7)}
        y = {"u": 0.0, "m": rng.uniform(0.4, 0.55), "l": 1.0}
        return _straight(*((x[corner[1]], y[corner[0]]) for corner in corners))

    return strokes


WAYS: dict[str, Way] = {  # the first character is the digit
    "0, square": _square("ul", "ur", "lr", "ll", "ul"),
    "1 with a serif": _serif,
    "1 with a serif and a base": lambda rng: [*_serif(rng), ((0.35, 1), (0.85, 1))],
    "2, square": _square("ul", "ur", "mr", "ml", "ll", "lr"),
    "3, square": _square("ul", "ur", "mr", "ml", "mr", "lr", "ll"),
    "4, open": _open_four,
    "4, closed": _closed_four,
    "5, square": _square("ur", "ul", "ml", "mr", "lr", "ll"),
    "6, square": _square("ur", "ul", "ll", "lr", "mr", "ml"),
    "6 with a hook": _hooked_six,
    "7 with a bar": _seven,
    "8, square": _square("ml", "ul", "ur", "lr", "ll", "ml", "mr"),
    "9, square": _square("mr", "ml", "ul", "ur", "lr", "ll"),
}


def way(name: str, rng: np.random.Generator) -> Image.Image:
    """A digit on paper, written in one of these ways."""
    return on_paper(WAYS[name](rng), rng, rotation=8)

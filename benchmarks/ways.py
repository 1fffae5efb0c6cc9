"""Digits of straight strokes, as some people write them and MNIST rarely shows them: a 1 with a serif, a square 6."""

import math
from collections.abc import Callable

import numpy as np
from pictures import cropped, plainly
from PIL import Image, ImageDraw, ImageFilter

Strokes = list[list[tuple[float, float]]]  # in a box of height 1, y downwards

SIDE = 200  # pixels of the box
MARGIN = 60


def _serif(rng: np.random.Generator, base: bool) -> Strokes:
    length, angle = rng.uniform(0.25, 0.75), math.radians(rng.uniform(38, 65))
    end = (0.6 - length * math.cos(angle), length * math.sin(angle))
    strokes: Strokes = [[end, (0.6, 0), (0.6, 1)]]
    return [*strokes, [(0.35, 1), (0.85, 1)]] if base else strokes


def _four(rng: np.random.Generator, is_open: bool) -> Strokes:
    width, bar = rng.uniform(0.45, 0.7), rng.uniform(0.5, 0.7)
    if is_open:
        return [[(0.1, 0), (0, bar), (width, bar)], [(0.8 * width, rng.uniform(0, 0.3)), (0.8 * width, 1)]]
    return [[(1.2 * width, bar), (0, bar), (0.8 * width, 0), (0.8 * width, 1)]]


def _seven(rng: np.random.Generator) -> Strokes:
    width = rng.uniform(0.5, 0.8)
    return [[(0, 0), (width, 0), (width * rng.uniform(0.3, 0.6), 1)], [(0.3 * width, 0.5), (1.1 * width, 0.5)]]


def _square(*points: tuple[int, float]) -> Callable[[np.random.Generator], Strokes]:
    """Through points whose height 0.5 varies, and whose width."""

    def strokes(rng: np.random.Generator) -> Strokes:
        width, middle = rng.uniform(0.4, 0.7), rng.uniform(0.4, 0.55)
        return [[(width * x, middle if y == 0.5 else y) for x, y in points]]

    return strokes


WAYS: dict[str, Callable[[np.random.Generator], Strokes]] = {
    # The first character is the digit.
    "0, square": _square((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)),
    "1 with a serif": lambda rng: _serif(rng, base=False),
    "1 with a serif and a base": lambda rng: _serif(rng, base=True),
    "2, square": _square((0, 0), (1, 0), (1, 0.5), (0, 0.5), (0, 1), (1, 1)),
    "3, square": _square((0, 0), (1, 0), (1, 0.5), (0, 0.5), (1, 0.5), (1, 1), (0, 1)),
    "4, open": lambda rng: _four(rng, is_open=True),
    "4, closed": lambda rng: _four(rng, is_open=False),
    "5, square": _square((1, 0), (0, 0), (0, 0.5), (1, 0.5), (1, 1), (0, 1)),
    "6, square": _square((1, 0), (0, 0), (0, 1), (1, 1), (1, 0.5), (0, 0.5)),
    "7 with a bar": _seven,
    "8, square": _square((0, 0.5), (0, 0), (1, 0), (1, 1), (0, 1), (0, 0.5), (1, 0.5)),
    "9, square": _square((1, 0.5), (0, 0.5), (0, 0), (1, 0), (1, 1), (0, 1)),
}


def way(name: str, rng: np.random.Generator) -> Image.Image:
    """A digit of straight strokes on paper, slanted by up to 10 degrees."""
    slant = math.tan(math.radians(rng.uniform(-3, 10)))
    width = int(rng.uniform(10, 32))
    picture = Image.new("L", (SIDE + 2 * MARGIN, SIDE + 2 * MARGIN))
    pen = ImageDraw.Draw(picture)
    for stroke in WAYS[name](rng):
        shaken = [
            (MARGIN + SIDE * (x + slant * (0.5 - y)) + rng.normal(0, 3), MARGIN + SIDE * y + rng.normal(0, 3))
            for x, y in stroke
        ]
        pen.line(shaken, 255, width, joint="curve")
        for x, y in (shaken[0], shaken[-1]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    strength = cropped(np.asarray(picture.filter(ImageFilter.GaussianBlur(2)), np.float32) / np.float32(255))
    scale = rng.uniform(60, 160) / max(strength.shape)
    size = max(4, round(strength.shape[1] * scale)), max(4, round(strength.shape[0] * scale))
    return plainly(np.asarray(Image.fromarray(strength).resize(size, Image.Resampling.BOX)), rng)

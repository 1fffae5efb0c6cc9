"""Draws pictures on paper to train on: an invented handwriting that MNIST does not have, or three shapes.

    python benchmarks/drawings.py handwriting my_digits      80 of each digit, in folders 0 to 9
    python benchmarks/drawings.py shapes shapes --number 30  30 circles, squares and triangles

    python benchmarks/drawings.py sheet docs/handwriting.png

The same seed draws the same pictures.
"""

import argparse
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Point = tuple[float, float]
Stroke = Sequence[Point]

SIDE = 140  # pixels of a picture
OVERSAMPLED = 3  # drawn larger, then reduced, so that edges are smooth
CURVE_STEPS = 12  # points between two control points


def arc(x: float, y: float, width: float, height: float, start: float, end: float) -> list[Point]:
    """Points on an ellipse, from one angle to another, in degrees; 0 is on the right, 90 below."""
    angles = np.radians(np.linspace(start, end, 9))
    return [(x + width * math.cos(angle), y + height * math.sin(angle)) for angle in angles]


HANDWRITING: dict[str, list[Stroke]] = {
    # In a box from 0 to 1, y downwards. Each digit is a list of strokes, with smooth curves between their points.
    "0": [arc(0.5, 0.5, 0.34, 0.46, -60, 300), [(1.02, 0.0), (0.5, 0.5), (-0.02, 1.0)]],  # crossed out
    "1": [[(-0.1, 0.98), (0.3, 0.55), (0.62, 0.02)], [(0.62, 0.02), (0.64, 0.5), (0.64, 0.98)]],  # like a roof
    "2": [[(0.1, 0.06), (0.5, 0.04), (0.92, 0.06)], [(0.92, 0.06), (0.5, 0.5), (0.08, 0.95)],
          [(0.08, 0.95), (0.5, 0.95), (0.96, 0.93)], [(0.26, 0.5), (0.5, 0.5), (0.76, 0.5)]],  # like a Z with a bar
    "3": [[(0.1, 0.04), (0.5, 0.04), (0.9, 0.04)], [(0.9, 0.04), (0.66, 0.22), (0.4, 0.42)],
          arc(0.44, 0.7, 0.42, 0.28, -95, 200)],  # flat on top, round below
    "4": [[(0.06, 0.1), (0.1, 0.45), (0.45, 0.56), (0.84, 0.4)], [(0.88, 0.02), (0.86, 0.5), (0.84, 0.98)]],  # like a y
    "5": [[(0.96, 0.03), (0.6, 0.0), (0.3, 0.12), (0.3, 0.36), (0.62, 0.52), (0.72, 0.76), (0.5, 0.96), (0.06, 0.92)]],
    "6": [[(0.2, -0.1), (0.17, 0.4), (0.16, 0.8)], arc(0.46, 0.72, 0.3, 0.24, 180, 540)],  # like a b
    "7": [[(0.08, 0.2), (0.08, 0.04), (0.5, 0.06), (0.92, 0.04)], [(0.92, 0.04), (0.6, 0.5), (0.3, 0.98)],
          [(0.2, 0.55), (0.6, 0.55), (1.0, 0.53)]],  # with a hook and a bar
    "8": [[(0.85, 0.12), (0.5, 0.0), (0.2, 0.2), (0.5, 0.46), (0.8, 0.72), (0.5, 0.98), (0.18, 0.76), (0.5, 0.48),
           (0.95, 0.05)]],  # open at the top
    "9": [arc(0.46, 0.22, 0.36, 0.22, 0, 360), [(0.84, 0.0), (0.84, 0.4), (0.84, 0.74)],
          arc(0.42, 0.78, 0.42, 0.2, 0, 230)],  # like a g
}  # fmt: skip

SLANT = 1.1  # pixels to the right for each pixel upwards


def handwriting(name: str, rng: np.random.Generator) -> Image.Image:
    """A digit in the invented handwriting."""
    slant = SLANT + rng.normal(0, 0.05)
    strokes = [[(x - slant * (y - 0.5), y) for x, y in stroke] for stroke in HANDWRITING[name]]
    return on_paper(strokes, rng, rotation=5)


def shape(name: str, rng: np.random.Generator) -> Image.Image:
    """A circle, a square or a triangle, drawn by hand, in any rotation."""
    if name == "circle":
        strokes: list[Stroke] = [arc(0.5, 0.5, 0.48, 0.48, 0, 365)]
    else:
        corners = 4 if name == "square" else 3
        turns = np.radians(np.arange(corners + 1) * 360 / corners - 90 + (45 if corners == 4 else 0))
        points = [(0.5 + 0.55 * math.cos(turn), 0.5 + 0.55 * math.sin(turn)) for turn in turns]
        strokes = [[first, ((first[0] + last[0]) / 2, (first[1] + last[1]) / 2), last]
                   for first, last in itertools.pairwise(points)]  # fmt: skip
    return on_paper(strokes, rng, rotation=45)


def on_paper(strokes: Sequence[Stroke], rng: np.random.Generator, rotation: float) -> Image.Image:
    """Draw strokes with a pen on a sheet: shaken, rotated and scaled at random."""
    scale = SIDE * OVERSAMPLED * rng.uniform(0.4, 0.62) * np.array([rng.uniform(0.8, 1.1), 1.0])
    angle = math.radians(rng.uniform(-rotation, rotation))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = SIDE * OVERSAMPLED * rng.uniform(0.44, 0.56, 2)
    paper = rng.integers(215, 250) - rng.integers(0, 14, 3)
    ink = rng.integers(15, 80, 3)
    width = round(OVERSAMPLED * rng.uniform(4, 7.5))
    drawing = Image.new("L", (SIDE * OVERSAMPLED, SIDE * OVERSAMPLED))
    pen = ImageDraw.Draw(drawing)
    for stroke in strokes:
        shaken = np.array(stroke) - 0.5 + rng.normal(0, 0.018, (len(stroke), 2))
        points = [tuple(point) for point in smooth(shaken * scale) @ turn.T + middle]
        pen.line(points, fill=255, width=width, joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    small = drawing.filter(ImageFilter.GaussianBlur(OVERSAMPLED / 2)).resize((SIDE, SIDE), Image.Resampling.BOX)
    coloured = paper + np.asarray(small)[:, :, None] / 255 * (ink - paper)
    light = 1 + rng.uniform(-0.12, 0.12) * np.linspace(-1, 1, SIDE)[:, None, None]  # brighter on one side
    pixels = coloured * light + rng.normal(0, 3, (SIDE, SIDE, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def smooth(points: np.ndarray) -> np.ndarray:
    """A Catmull-Rom curve, (m, 2), through points, (n, 2)."""
    if len(points) < 3:
        return points
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, CURVE_STEPS, endpoint=False)[:, None]
    parts = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.concatenate([*parts, points[-1:]])


KINDS = {"handwriting": (tuple(HANDWRITING), handwriting), "shapes": (("circle", "square", "triangle"), shape)}


def write(kind: str, folder: Path, number: int, seed: int) -> None:
    """Write a number of pictures of each class, as ``FOLDER/CLASS/NUMBER.png``."""
    names, draw = KINDS[kind]
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            picture = draw(name, np.random.default_rng([seed, label, index]))
            picture.save(folder / name / f"{index:03}.png", compress_level=1)


def sheet(file: Path, seed: int) -> None:
    """Write one picture that shows two drawings of each digit."""
    whole = Image.new("RGB", (10 * SIDE, 2 * SIDE))
    for label, name in enumerate(HANDWRITING):
        for row in range(2):
            whole.paste(handwriting(name, np.random.default_rng([seed, label, row])), (label * SIDE, row * SIDE))
    whole.resize((5 * SIDE, SIDE), Image.Resampling.BOX).save(file)


def main() -> None:
    """Write the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=[*KINDS, "sheet"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--number", type=int, default=80, help="pictures of each class")
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    if words.kind == "sheet":
        sheet(words.folder, words.seed)
        return
    write(words.kind, words.folder, words.number, words.seed)


if __name__ == "__main__":
    main()

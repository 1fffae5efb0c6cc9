"""Draws rows of digits on paper, and pictures of other things: letters and shapes."""

from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from pictures import (
    BLACK,
    BLUE,
    CHALK,
    PENCIL,
    Strength,
    cropped,
    dark,
    on_paper,
    plain,
    plainly,
    shaded,
    stroke,
    textured,
)
from PIL import Image, ImageDraw, ImageFont

LETTERS = "ACDEFGHJKLMNPQRTUVWXYacdefhjkmnprtuvwxy"  # the other letters look like digits
SHAPES = ("triangle", "square", "star", "arrow", "cross", "heart", "house", "hexagon")
FONTS = sorted(
    path for path in Path(matplotlib.get_data_path(), "fonts/ttf").glob("DejaVuS*.ttf") if "Display" not in path.name
)
LENGTHS = (2, 10)  # fewest and most digits in a row


def letter(rng: np.random.Generator) -> Image.Image:
    """A letter of a printed font, turned by up to 10 degrees."""
    font = ImageFont.truetype(FONTS[rng.integers(len(FONTS))], 160)
    picture = Image.new("L", (300, 300))
    ImageDraw.Draw(picture).text((150, 150), LETTERS[rng.integers(len(LETTERS))], 255, font, anchor="mm")
    return _on_paper(picture.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC), rng)


def shape(rng: np.random.Generator) -> Image.Image:
    """The outline of a shape, turned by up to 15 degrees."""
    picture = Image.new("L", (300, 300))
    points = _outline(SHAPES[rng.integers(len(SHAPES))])
    moved = [(30 + 240 * x + rng.normal(0, 3), 30 + 240 * y + rng.normal(0, 3)) for x, y in points]
    ImageDraw.Draw(picture).line([*moved, moved[0]], 255, int(rng.integers(8, 30)), joint="curve")
    return _on_paper(picture.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC), rng)


def _outline(name: str) -> list[tuple[float, float]]:
    """The corners of a shape in a square of side 1."""
    corners = {"triangle": 3, "square": 4, "star": 5, "hexagon": 6}
    if name in corners:
        angles = 2 * np.pi * np.arange(corners[name]) / corners[name] - np.pi / 2
        around = [(0.5 + 0.45 * np.cos(angle), 0.5 + 0.45 * np.sin(angle)) for angle in angles]
        return [around[index] for index in (0, 2, 4, 1, 3)] if name == "star" else around
    if name == "heart":
        angles = np.linspace(0, 2 * np.pi, 60)
        y = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles)
        return list(zip(0.5 + 0.45 * np.sin(angles) ** 3, 0.48 - 0.028 * y, strict=True))
    return {
        "arrow": [(0.1, 0.5), (0.9, 0.5), (0.65, 0.3), (0.9, 0.5), (0.65, 0.7), (0.9, 0.5)],
        "cross": [(0.15, 0.15), (0.85, 0.85), (0.5, 0.5), (0.85, 0.15), (0.15, 0.85), (0.5, 0.5)],
        "house": [(0.2, 0.9), (0.2, 0.45), (0.5, 0.1), (0.8, 0.45), (0.8, 0.9)],
    }[name]


def _on_paper(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    strength = cropped(np.asarray(picture, np.float32) / np.float32(255))
    factor = rng.uniform(60, 140) / max(strength.shape)
    height, width = (max(4, round(factor * side)) for side in strength.shape)
    return plainly(np.asarray(Image.fromarray(strength).resize((width, height), Image.Resampling.BOX)), rng)


def row(
    digits: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], rng: np.random.Generator
) -> tuple[str, Image.Image]:
    """Draw a row of 2 to 10 digits that do not touch, with random height, spacing, slant and level.

    Args:
        digits: (n, 28, 28) uint8, to choose from.
        labels: (n,) uint8.
        rng: The source of all choices.

    Returns:
        The digits of the row as text, and its picture.
    """
    chosen = rng.integers(len(digits), size=int(rng.integers(LENGTHS[0], LENGTHS[1] + 1)))
    height, spacing = rng.uniform(28, 90), rng.uniform(0.08, 0.6)
    slant, drift = rng.uniform(-0.3, 0.3), rng.uniform(-0.06, 0.06)
    strokes = [_slanted(stroke(digits[index], height * rng.uniform(0.8, 1.2), rng), slant) for index in chosen]
    gaps = [spacing * height * rng.uniform(0.6, 1.4) for _ in strokes]
    width = int(sum(part.shape[1] for part in strokes) + sum(gaps) + height)
    cover = np.zeros((int(2.5 * height + abs(drift) * width), width), np.float32)
    x, middle = 0.4 * height, len(cover) / 2 - drift * width / 2
    for part, gap in zip(strokes, gaps, strict=True):
        top = int(middle + drift * x - len(part) / 2 + rng.normal(0, 0.05 * height))
        top = min(max(top, 1), len(cover) - len(part) - 1)
        place = cover[top : top + len(part), int(x) : int(x) + part.shape[1]]
        np.maximum(place, part[:, : place.shape[1]], out=place)
        x += part.shape[1] + max(2, gap)
    paper = (plain, textured, shaded, dark)[rng.integers(4)]
    ink = CHALK if paper is dark else (BLACK, BLUE, PENCIL)[rng.integers(3)]
    right, down = int(rng.uniform(0.1, 1) * height), int(rng.uniform(0.1, 1.5) * height)
    pixels = paper(cover.shape[1] + 2 * right, len(cover) + 2 * down, rng)
    return "".join(map(str, labels[chosen])), on_paper(cover, pixels, ink, (right, down))


def _slanted(strength: Strength, slant: float) -> Strength:
    """Shear by pixels to the right per pixel upwards."""
    height = len(strength)
    margin = int(abs(slant) * height) + 2
    wide = np.pad(strength, ((0, 0), (margin, margin)))
    shear = (1, slant, -slant * height / 2, 0, 1, 0)
    moved = Image.fromarray(wide).transform(wide.shape[::-1], Image.Transform.AFFINE, shear, Image.Resampling.BILINEAR)
    return cropped(np.asarray(moved))

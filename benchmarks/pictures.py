"""Draws MNIST's digits as people photograph and draw them: on any paper, in tight crops, with gaps, in boxes."""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

Pixels = npt.NDArray[np.float32]  # (height, width, 3), 0 to 255
Strength = npt.NDArray[np.float32]  # (height, width), from 0, no ink, to 1
Colour = tuple[int, int, int]
Paper = Callable[[int, int, np.random.Generator], Pixels]  # called with a width and a height
Kind = Callable[[npt.NDArray[np.uint8], np.random.Generator], Image.Image]  # draws a digit, (28, 28)

SIZES = (256, 256), (320, 240), (480, 640), (1200, 1600)  # width and height
BLACK, BLUE, RED, PENCIL, CHALK = (25, 25, 30), (35, 50, 150), (190, 40, 45), (105, 105, 110), (225, 225, 220)
USUAL, SMALL = (0.25, 0.85), (0.08, 0.2)  # range of the digit's height, as a fraction of the picture's shorter side


def stroke(digit: npt.NDArray[np.uint8], height: float, rng: np.random.Generator, pen: float = 0) -> Strength:
    """Enlarge a digit, rotate it at random, and give its strokes the sharp edges of a pen.

    Args:
        digit: (28, 28) uint8, bright strokes on 0.
        height: Length of the longer side in pixels, 20 or more.
        rng: Draws the angle, up to 10°.
        pen: How much wider the stroke is on each side, in pixels of MNIST's 20×20 box.
    """
    side = max(28, round(height * 28 / 20))
    drawn = Image.fromarray(np.pad(digit, 4)).resize((side * 36 // 28, side * 36 // 28), Image.Resampling.BICUBIC)
    drawn = drawn.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC)
    strength = np.asarray(drawn, dtype=np.float32) / 255
    if pen:
        inside = strength > 0.5
        distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        strength = distance + pen * side / 28 + 0.5
    else:
        strength = (strength - 0.5) * 3 + 0.5
    return cropped(strength.clip(0, 1).astype(np.float32))


def cropped(strength: Strength) -> Strength:
    """Crop the margins: rows and columns without ink."""
    rows, columns = (np.flatnonzero(strength.max(axis) > 0.1) for axis in (1, 0))
    return strength[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def holes(strength: Strength) -> int:
    """The number of areas that ink encloses."""
    return int(ndimage.label(np.pad(strength < 0.5, 1, constant_values=True))[1]) - 1


def on_paper(strength: Strength, pixels: Pixels, ink: Colour, at: tuple[int, int]) -> Image.Image:
    """Put ink on paper, in place; its upper left corner is `at` a column and a row."""
    left, top = at
    place = pixels[top : top + strength.shape[0], left : left + strength.shape[1]]
    cover = strength[: place.shape[0], : place.shape[1], None]
    place[:] = place * (1 - cover) + np.array(ink, dtype=np.float32) * cover
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def pasted(
    digit: npt.NDArray[np.uint8],
    rng: np.random.Generator,
    paper: Paper,
    ink: Colour,
    heights: tuple[float, float],
    size: tuple[int, int] | None = None,
) -> Image.Image:
    """A digit, (28, 28), drawn at a random place on paper, and rotated by up to 10°.

    Its height, as a fraction of the picture's shorter side, comes from the range `heights`.
    """
    width, height = size or SIZES[rng.integers(len(SIZES))]
    side = int(rng.uniform(*heights) * min(width, height) * 28 / 20)
    drawn = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    drawn = drawn.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC)
    strength = cropped(np.clip((np.asarray(drawn, dtype=np.float32) / 255 - 0.5) * 3 + 0.5, 0, 1))
    margin = min(width, height) // 7 if paper is on_a_table else min(width, height) // 32
    return on_paper(strength, paper(width, height, rng), ink, _place(strength, (width, height), margin, rng))


def _place(strength: Strength, size: tuple[int, int], margin: int, rng: np.random.Generator) -> tuple[int, int]:
    """A random place for ink between the margins: a column and a row."""
    height, width = strength.shape
    left, top = (
        int(rng.integers(margin, max(whole - part - margin, margin + 1)))
        for whole, part in zip(size, (width, height), strict=True)
    )
    return left, top


# Paper


def plain(width: int, height: int, rng: np.random.Generator, grey: tuple[int, int] = (200, 256)) -> Pixels:
    """Paper of one colour, not quite white, and the camera's noise."""
    colour = rng.integers(*grey) + rng.uniform(-12, 12, 3)
    return (colour + rng.normal(0, 3, (height, width, 3))).astype(np.float32)


def dark(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A blackboard."""
    return plain(width, height, rng, (20, 70))


def textured(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Paper with grain and stains, coarse and fine."""
    pixels = plain(width, height, rng)
    for cells, deviation in ((4, 8), (16, 6), (64, 5)):
        grain = Image.fromarray(rng.normal(0, deviation, (cells, cells)).astype(np.float32))
        pixels += np.asarray(grain.resize((width, height), Image.Resampling.BICUBIC))[..., None]
    return pixels


def shaded(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Paper lit from one side, with the shadow of a hand over part of it."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - rng.uniform(0.1, 0.4) * (1 + x * np.cos(angle) + y * np.sin(angle)) / 2.4
    light *= 1 - rng.uniform(0.15, 0.4) * _shadow(width, height, rng, rng.uniform(0.02, 0.1))
    pixels: Pixels = plain(width, height, rng) * light[..., None].astype(np.float32)
    return pixels


def shadowed(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Paper with the hard edge of a dark shadow across it."""
    light = 1 - np.float32(rng.uniform(0.4, 0.6)) * _shadow(width, height, rng, rng.uniform(0.005, 0.015))
    pixels: Pixels = plain(width, height, rng) * light[..., None].astype(np.float32)
    return pixels


def _shadow(width: int, height: int, rng: np.random.Generator, blur: float) -> Strength:
    """The shadow of an object with a straight edge, (height, width), blurred by a fraction of the width."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    covered = x * np.cos(angle) + y * np.sin(angle) > rng.uniform(-0.5, 0.5)
    shadow = Image.fromarray((255 * covered).astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur * width))
    return np.asarray(np.asarray(shadow) / 255, dtype=np.float32)


def squared(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A squared notebook: thin lines, light blue."""
    pixels = plain(width, height, rng)
    step, thick = int(rng.uniform(0.06, 0.15) * width), max(1, width // 250)
    for offset in range(thick):
        pixels[rng.integers(step) + offset :: step] = (160, 185, 215)
        pixels[:, rng.integers(step) + offset :: step] = (160, 185, 215)
    return pixels


def on_a_table(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A sheet of paper that does not fill the picture, on a darker table."""
    pixels = plain(width, height, rng, (40, 130))
    left, top, right, bottom = (int(rng.uniform(0.04, 0.12) * min(width, height)) for _ in range(4))
    pixels[top:-bottom, left:-right] = plain(width - left - right, height - top - bottom, rng)
    return pixels


def ruled(width: int, height: int, rng: np.random.Generator, both: bool = False) -> Pixels:
    """A page with dark printed lines, not quite level; with ``both``, squared."""
    pixels = plain(width, height, rng)
    step, thick = rng.uniform(0.09, 0.2) * height, max(1.0, rng.uniform(0.003, 0.009) * height)
    slope, ink = rng.uniform(-0.04, 0.04), rng.uniform(60, 120)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    offset = rng.uniform(0, step)
    lines = [y + slope * x] + ([x - slope * y] if both else [])
    for across in lines:
        from_line = np.abs((across + offset) % step - step / 2)
        covered = (thick / 2 - from_line + 0.5).clip(0, 1)[..., None]
        pixels -= covered * np.array([ink, 0.8 * ink, 0.5 * ink], np.float32)
    return pixels


def squared_dark(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A page with dark printed squares."""
    return ruled(width, height, rng, both=True)


# Kinds of pictures


def tight(digit: npt.NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """A thick pen, in a crop of 20 to 90 pixels that the digit fills."""
    strength = _thick(digit, rng.uniform(20, 90), rng)
    margins = [round(rng.uniform(0, 0.07) * max(strength.shape)) for _ in range(4)]
    strength = np.pad(strength, (margins[:2], margins[2:]))
    height, width = strength.shape
    paper, ink = (rng.uniform(120, 255), rng.uniform(0, 60)) if rng.random() < 0.8 else (10, rng.uniform(120, 255))
    grey = paper + rng.normal(0, rng.uniform(0, 3), (height, width))
    grey = grey * (1 - strength) + ink * strength
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def _thick(digit: npt.NDArray[np.uint8], height: float, rng: np.random.Generator) -> Strength:
    """A digit drawn with the widest of several pens that closes none of its holes."""
    seed, large = rng.integers(2**32), max(height, 80)
    enclosed = holes(stroke(digit, large, np.random.default_rng(seed), 1e-6))
    for pen in np.arange(rng.uniform(0.9, 1.8), 0, -0.3):
        strength = stroke(digit, large, np.random.default_rng(seed), float(pen))
        if holes(strength) == enclosed:
            break
    return _sized(strength, height)


def canvas(digit: npt.NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """A thick brush on a transparent canvas, which the digit nearly fills."""
    strength = _thick(digit, rng.uniform(60, 280), rng)
    margins = [round(rng.uniform(0, 0.1) * max(strength.shape)) for _ in range(4)]
    strength = np.pad(strength, (margins[:2], margins[2:]))
    colour = rng.integers(0, 90, 3).tolist() if rng.random() < 0.7 else [255, 255, 255]
    picture = Image.new("RGBA", strength.shape[::-1], (*colour, 0))
    picture.putalpha(Image.fromarray((255 * strength).astype(np.uint8)))
    return picture


def broken(digit: npt.NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """Strokes with one or two gaps, where little ink is left."""
    height = rng.uniform(24, 160)
    strength = stroke(digit, max(height, 90), rng)
    y, x = np.mgrid[: strength.shape[0], : strength.shape[1]]
    inked = np.argwhere(strength > 0.9)
    for _ in range(rng.integers(1, 3)):
        middle = inked[rng.integers(len(inked))]
        angle = rng.uniform(0, np.pi)
        across = np.abs((y - middle[0]) * np.cos(angle) + (x - middle[1]) * np.sin(angle))
        near = np.hypot(y - middle[0], x - middle[1]) < 0.2 * max(strength.shape)
        gap = rng.uniform(0.02, 0.05) * max(strength.shape)
        strength = np.where(near & (across < gap), strength * rng.uniform(0.15, 0.3), strength)
    return plainly(_sized(strength, height), rng)


def fading(digit: npt.NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """Strokes that fade: a ball pen or a brush with little ink."""
    height = rng.uniform(40, 160)
    strength = stroke(digit, max(height, 90), rng)
    field = Image.fromarray(rng.normal(0, 1, (4, 4)).astype(np.float32))
    values = np.asarray(field.resize(strength.shape[::-1], Image.Resampling.BICUBIC))
    values = (values - values.min()) / (np.ptp(values) or 1)
    return plainly(_sized(strength * (0.25 + 0.75 * values), height), rng)


def _sized(strength: Strength, height: float) -> Strength:
    """Reduce ink until its longer side has a given length."""
    scale = min(1, height / max(strength.shape))
    size = max(4, round(strength.shape[1] * scale)), max(4, round(strength.shape[0] * scale))
    return np.asarray(Image.fromarray(strength.astype(np.float32)).resize(size, Image.Resampling.BOX))


def plainly(strength: Strength, rng: np.random.Generator) -> Image.Image:
    """Put a digit on plain paper, with a margin of 15 to 60 % of its size."""
    margin = round(rng.uniform(0.15, 0.6) * max(strength.shape))
    height, width = (side + 2 * margin for side in strength.shape)
    colour = rng.uniform(200, 255) + rng.uniform(-10, 10, 3)
    pixels = (colour + rng.normal(0, rng.uniform(0, 2.5), (height, width, 1))).astype(np.float32)
    ink = (BLACK, BLUE, PENCIL)[rng.integers(3)]
    return on_paper(strength, pixels, ink, (margin, margin))


def boxed(digit: npt.NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """A digit in a printed box, as on a form."""
    width, height = SIZES[rng.integers(len(SIZES))]
    pixels = plain(width, height, rng)
    side = rng.uniform(0.3, 0.75) * min(width, height)
    tall = side * rng.uniform(1, 1.4) if height > width else side
    left, top = rng.uniform(0.05, 0.95, 2) * (width - side, height - tall)
    thick = max(2, round(rng.uniform(0.004, 0.012) * min(width, height)))
    frame = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    grey = int(rng.integers(20, 130))
    ImageDraw.Draw(frame).rectangle((left, top, left + side, top + tall), outline=(grey, grey, grey), width=thick)
    strength = stroke(digit, rng.uniform(0.4, 0.75) * side, rng)
    at = round(left + (side - strength.shape[1]) / 2), round(top + (tall - strength.shape[0]) / 2)
    return on_paper(strength, np.array(frame, dtype=np.float32), (BLACK, BLUE)[rng.integers(2)], at)


def narrow(digit: npt.NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """A digit about three times as tall as it is wide."""
    strength = stroke(digit, 200, rng)
    height = rng.uniform(60, 250)
    size = round(height / rng.uniform(2.6, 3.6)), round(height)
    return plainly(np.asarray(Image.fromarray(strength).resize(size, Image.Resampling.BOX)), rng)


def drawn(paper: Paper, ink: Colour, heights: tuple[float, float] = USUAL) -> Kind:
    """A function that draws a digit on a kind of paper, in a random size and place."""
    return lambda digit, rng: jpeg(pasted(digit, rng, paper, ink, heights), rng)


def jpeg(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Store a picture as a camera does: as a JPEG, with a random quality from 50 to 94."""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=int(rng.integers(50, 95)))
    return Image.open(content)


USUAL_KINDS: dict[str, Kind] = {
    "black ink on plain paper": drawn(plain, BLACK),
    "small": drawn(plain, BLACK, SMALL),
    "blue ink": drawn(plain, BLUE),
    "red ink on textured paper": drawn(textured, RED),
    "pencil": drawn(plain, PENCIL),
    "chalk on a blackboard": drawn(dark, CHALK),
    "textured paper": drawn(textured, BLACK),
    "shaded paper": drawn(shaded, BLACK),
    "blue ink on shaded paper": drawn(shaded, BLUE),
    "a squared notebook": drawn(squared, BLUE),
    "a sheet of paper on a table": drawn(on_a_table, BLACK, (0.25, 0.65)),
}
HARD_KINDS: dict[str, Kind] = {
    "thick pen in a tight crop": tight,
    "transparent canvas": canvas,
    "broken strokes": broken,
    "fading strokes": fading,
    "dark ruled paper": drawn(ruled, BLUE),
    "dark squared paper": drawn(squared_dark, BLACK),
    "printed box": boxed,
    "edge of a shadow": drawn(shadowed, BLACK),
    "narrow digits": narrow,
}


def blank(paper: Paper, rng: np.random.Generator) -> Image.Image:
    """A sheet without a digit."""
    pixels = paper(*SIZES[rng.integers(len(SIZES))], rng)
    return jpeg(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), rng)


PAPERS: tuple[Paper, ...] = (
    plain, dark, textured, shaded, shadowed, squared, ruled, squared_dark, on_a_table
)  # fmt: skip

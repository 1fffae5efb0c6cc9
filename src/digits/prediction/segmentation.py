"""Telling a digit's ink from its paper, whatever their colours, and however the paper is lit."""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from digits.errors import UserError

Grey = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

WORKING_SIZE = 160  # pixels of the longer side, at most, at which a digit is looked for
COARSE_SIZE = 40  # and at which its paper is
SMALLEST = 4  # working pixels of the shorter side
FAINTEST = 14  # grey values of 255 between ink and paper; less is a stain
NOISE = 4.5  # times that the ink has to stand out of the paper's own unevenness
SHEET = 0.12  # of the picture: a smaller piece is no sheet of paper, and what leaves less is all of the picture
SOLID = 0.7  # of its box that a sheet fills; it may be turned a little, and has a digit on it
NORMAL = 1.4826  # standard deviation over median deviation, of a normal distribution


class NoDigitError(UserError):
    """A picture without a digit in it, or with several; the message says which."""


class BlankError(NoDigitError):
    """A picture in which nothing stands out."""


@dataclass(frozen=True)
class Ink:
    """Where there is ink in a picture.

    Attributes:
        strength: (height, width) float32, how far each pixel stands out from the paper.
        mask: (height, width) bool, what belongs to the digit.
        box: Its rows and columns.
    """

    strength: Grey
    mask: Mask
    box: tuple[slice, slice]


def find(picture: Image.Image) -> Ink:
    """Tell the digit from the paper.

    Raises:
        NoDigitError: If there is none, or more than one.
    """
    grey = _grey(picture)
    if min(grey.shape) < SMALLEST:
        raise BlankError(f"blank: {picture.width}×{picture.height} pixels have no room for a digit")
    strength = _out_of_paper(grey)
    noise = NORMAL * quantile(np.abs(strength[::2, ::2]), 0.5)
    smooth = _smoothed(strength) if noise > 1 else strength
    stands_out = smooth[smooth > max(FAINTEST / 2, 2.5 * noise)]
    threshold = _otsu(stands_out) if stands_out.size else np.inf
    full = float(stands_out[stands_out > threshold].mean()) if stands_out.max(initial=0) > threshold else 0.0
    if full < max(FAINTEST, NOISE * noise):
        raise BlankError("blank: nothing stands out from the paper")
    mask = _digit_of(smooth > min(threshold, 0.55 * full))  # of ink alone, the threshold would part it in two
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return Ink(strength, mask, (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)))


def sheet(picture: Image.Image) -> tuple[int, int, int, int] | None:
    """The edges (left, upper, right, lower) of a sheet of paper on something darker or brighter; None without one."""
    coarse = _shrunk(_grey(picture))
    bright = coarse > _otsu(coarse)
    best, largest = None, SHEET * coarse.size
    for mask in (bright, ~bright):
        pieces, _ = ndimage.label(mask)
        for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), 1):
            piece = pieces[rows, columns] == number
            area = int(piece.sum())
            if largest < area < (1 - SHEET) * coarse.size and area > SOLID * piece.size:
                best, largest = (rows, columns), area
    if best is None:
        return None
    scale = max(picture.size) / max(coarse.shape)
    rows, columns = best
    inner = columns.start + 1, rows.start + 1, columns.stop - 1, rows.stop - 1  # without the edge itself
    left, upper, right, lower = (round(edge * scale) for edge in inner)
    return left, upper, right, lower


def _grey(picture: Image.Image) -> Grey:
    """(height, width) at working size, along the colour axis in which the picture varies most, brighter for brighter.

    So blue, red or yellow ink stands out as far as it does from its paper, whatever its brightness.
    """
    picture = picture.reduce(math.ceil(max(picture.size) / WORKING_SIZE))
    pixels = np.asarray(picture, dtype=np.float32)
    if pixels.ndim == 2:
        return pixels
    colours = pixels[:: max(1, len(pixels) // COARSE_SIZE), :: max(1, pixels.shape[1] // COARSE_SIZE)].reshape(-1, 3)
    colours = colours - colours.mean(0)
    axis = np.linalg.eigh(colours.T @ colours)[1][:, -1]
    grey: Grey = pixels @ (axis * (np.sign(axis.sum()) or 1) / np.sqrt(np.float32(3)))
    return grey


def _out_of_paper(grey: Grey) -> Grey:
    """How far each pixel stands out from the paper around it, positive where it is ink, whichever is the brighter."""
    coarse = _shrunk(grey)
    light = _light(coarse)
    rest = coarse - light
    if _is_dark_on_light(rest, coarse):
        grey, light, rest = -grey, -light, -rest
    # What is narrower than a third of the picture is a stroke, and goes; shadows and stains of the paper stay.
    size = max(3, max(coarse.shape) // 3) | 1
    stains = ndimage.grey_opening(rest, size, mode="nearest")
    paper = light + ndimage.uniform_filter(stains, max(3, size // 4), mode="nearest")
    background = Image.fromarray(paper).resize(grey.shape[::-1], Image.Resampling.BILINEAR)
    strength: Grey = grey - np.asarray(background)
    return strength - quantile(strength[::2, ::2], 0.5)


def _shrunk(grey: Grey) -> Grey:
    return np.asarray(Image.fromarray(grey).reduce(math.ceil(max(grey.shape) / COARSE_SIZE)))


def _light(coarse: Grey) -> Grey:
    """A smooth surface that fits most of a picture, and its border most of all: paper that is lit from one side."""
    few = coarse[::2, ::2] if min(coarse.shape) > 10 else coarse
    terms, border = _surface(few.shape)
    values = few.ravel().astype(np.float64)
    weights = border
    for _ in range(4):  # the less a pixel fits, the less it counts: so ink does not
        weighted = terms * weights
        factors = np.linalg.solve(weighted @ terms.T + 1e-6 * np.eye(len(terms)), weighted @ values)
        rest = values - factors @ terms
        spread = NORMAL * quantile(np.abs(rest), 0.5) + 1
        weights = border / (1 + (rest / (1.5 * spread)) ** 2) ** 2
    return (factors @ _surface(coarse.shape)[0]).reshape(coarse.shape).astype(np.float32)


def _is_dark_on_light(rest: Grey, coarse: Grey) -> bool:
    """By what stands out from the light, and from the medians around each place, which follow a shadow's edges."""
    few = coarse[::4, ::4]
    around = ndimage.median_filter(few, max(3, max(few.shape) // 2 | 1), mode="nearest")
    return _skewness(rest) + _skewness(few - around) < 0


def _skewness(values: npt.NDArray[Any]) -> float:
    squares = values * values
    return float((squares * values).mean() / (squares.mean() ** 1.5 + 1e-9))


@functools.lru_cache(maxsize=16)
def _surface(shape: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The terms of a surface of second order, (6, pixels), and the weight of each pixel, (pixels,)."""
    height, width = shape
    y, x = (axis.ravel() for axis in np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    return terms, 1 + 3.0 * (np.maximum(abs(x), abs(y)) > 0.85)


def _smoothed(values: Grey) -> Grey:
    """The means of 3×3 pixels around each; at the edges, as if they went on."""
    wide = np.pad(values, 1, mode="edge")
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    smooth: Grey = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) * np.float32(1 / 9)
    return smooth


def _otsu(strength: Grey) -> float:
    """The threshold that parts two classes best (Otsu, "A threshold selection method", 1979)."""
    darkest, brightest = float(strength.min()), float(strength.max())
    if darkest == brightest:
        return darkest / 2
    step = (brightest - darkest) / 127
    counts = np.bincount(((strength - darkest) / step).astype(np.uint8).ravel(), minlength=128)
    middles = darkest + step * (np.arange(128) + 0.5)
    below = np.cumsum(counts)
    total = np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(middles[np.nanargmax(between[:-1])] + step / 2)


def quantile(values: npt.NDArray[np.floating[Any]], share: float) -> float:
    """The value that a share of them stays below."""
    place = int(share * (values.size - 1))
    return float(np.partition(values, place, axis=None)[place])


def _digit_of(mask: Mask) -> Mask:
    """The pieces of ink that belong to the digit, without dirt and edges.

    Raises:
        NoDigitError: If there are several digits.
    """
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    areas[0] = 0
    boxes = ndimage.find_objects(pieces)
    spans = np.array([(r.start, r.stop, c.start, c.stop) for r, c in boxes])
    height, width = mask.shape
    at_edge = (spans[:, 0] == 0) | (spans[:, 1] == height) | (spans[:, 2] == 0) | (spans[:, 3] == width)
    inside = areas[1:] * ~at_edge
    if inside.max() > 0.1 * areas.max():  # what the picture's edge cuts is a shadow or a table, if there is another
        areas[1:] = inside
    heights, widths = spans[:, 1] - spans[:, 0], spans[:, 3] - spans[:, 2]
    sizes = np.maximum(heights, widths)
    main = int(np.argmax(areas[1:] * sizes))
    keep = [main]
    size = sizes[main]
    for other in np.flatnonzero(areas[1:] > max(0.004 * areas[main + 1], 3)).tolist():
        if other == main:
            continue
        gap_y = max(spans[other, 0] - spans[main, 1], spans[main, 0] - spans[other, 1])
        gap_x = max(spans[other, 2] - spans[main, 3], spans[main, 2] - spans[other, 3])
        gap = max(gap_x, gap_y)
        tall = min(heights[other], heights[main]) > 0.6 * max(heights[other], heights[main])
        if tall and areas[other + 1] > 0.25 * areas[main + 1] and gap > 0.1 * size:
            raise NoDigitError("several digits: write one, or cut the others off")
        if gap < 0.2 * size and areas[other + 1] > 0.02 * areas[main + 1]:
            keep.append(other)
    chosen = np.zeros(count + 1, dtype=bool)
    chosen[np.array(keep) + 1] = True
    return np.asarray(chosen[pieces])

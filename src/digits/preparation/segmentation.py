"""Separates a digit's ink from the paper, for any colours and any lighting."""

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

WORKING_SIZE = 160  # largest longer side in pixels when a digit is segmented
COARSE_SIZE = 40  # the same for its paper
MIN_SIZE = 4  # working pixels of the shorter side
MIN_CONTRAST = 14  # grey values of 255 between ink and paper; less is a stain
MIN_SIGNAL_TO_NOISE = 4.5  # contrast of the ink over the standard deviation of the paper
SHEET = 0.12  # smallest fraction of the picture that a sheet of paper covers, and that it leaves
SOLID = 0.7  # smallest fraction of its box that a sheet fills: it may be rotated, and has a digit on it
NORMAL = 1.4826  # standard deviation over median absolute deviation of a normal distribution


class NoDigitError(UserError):
    """A picture has no digit, or several; the message says which."""


class BlankError(NoDigitError):
    """Nothing stands out from the paper."""


@dataclass(frozen=True)
class Ink:
    """The ink in a picture.

    Attributes:
        strength: (height, width) float32, how far each pixel stands out from the paper.
        mask: (height, width) bool, the pixels of the digit.
        box: The rows and columns of the digit.
    """

    strength: Grey
    mask: Mask
    box: tuple[slice, slice]


def find(picture: Image.Image) -> Ink:
    """Segment the digit.

    Raises:
        NoDigitError: If the picture has no digit, or several.
    """
    grey = _grey(picture)
    if min(grey.shape) < MIN_SIZE:
        raise BlankError(f"blank: {picture.width}×{picture.height} pixels are too few for a digit")
    strength = _out_of_paper(grey)
    noise = NORMAL * quantile(np.abs(strength[::2, ::2]), 0.5)
    smooth = _smoothed(strength) if noise > 1 else strength
    stands_out = smooth[smooth > max(MIN_CONTRAST / 2, 2.5 * noise)]
    threshold = _otsu(stands_out) if stands_out.size else np.inf
    full = float(stands_out[stands_out > threshold].mean()) if stands_out.max(initial=0) > threshold else 0.0
    if full < max(MIN_CONTRAST, MIN_SIGNAL_TO_NOISE * noise):
        raise BlankError("blank: nothing stands out from the paper")
    mask = _digit_of(smooth > min(threshold, 0.55 * full))  # otherwise it splits a picture of ink alone
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return Ink(strength, mask, (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)))


def sheet(picture: Image.Image) -> tuple[int, int, int, int] | None:
    """Find the edges (left, upper, right, lower) of a sheet of paper on a table; None without one."""
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
    """Project to one channel at working size: the colour axis with the largest variance, oriented towards brighter.

    Ink of any colour then keeps its contrast with the paper, even at the same brightness.
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
    """How far each pixel stands out from the paper around it: positive for ink, whether dark or bright."""
    coarse = _shrunk(grey)
    light = _light(coarse)
    rest = coarse - light
    if _is_dark_on_light(rest, coarse):
        grey, light, rest = -grey, -light, -rest
    # Removes what is narrower than a third of the picture, which is a stroke; keeps shadows and stains of the paper.
    size = max(3, max(coarse.shape) // 3) | 1
    stains = ndimage.grey_opening(rest, size, mode="nearest")
    paper = light + ndimage.uniform_filter(stains, max(3, size // 4), mode="nearest")
    background = Image.fromarray(paper).resize(grey.shape[::-1], Image.Resampling.BILINEAR)
    strength: Grey = grey - np.asarray(background)
    return strength - quantile(strength[::2, ::2], 0.5)


def _shrunk(grey: Grey) -> Grey:
    return np.asarray(Image.fromarray(grey).reduce(math.ceil(max(grey.shape) / COARSE_SIZE)))


def _light(coarse: Grey) -> Grey:
    """Fit a smooth surface to the paper, which may be lit from one side; the border of the picture counts most."""
    few = coarse[::2, ::2] if min(coarse.shape) > 10 else coarse
    terms, border = _surface(few.shape)
    values = few.ravel().astype(np.float64)
    weights = border
    for _ in range(4):  # robust regression: a pixel that fits badly, such as ink, counts less
        weighted = terms * weights
        factors = np.linalg.solve(weighted @ terms.T + 1e-6 * np.eye(len(terms)), weighted @ values)
        rest = values - factors @ terms
        spread = NORMAL * quantile(np.abs(rest), 0.5) + 1
        weights = border / (1 + (rest / (1.5 * spread)) ** 2) ** 2
    return (factors @ _surface(coarse.shape)[0]).reshape(coarse.shape).astype(np.float32)


def _is_dark_on_light(rest: Grey, coarse: Grey) -> bool:
    """Decide by the skewness of the residuals, and of the differences from local medians, which follow shadows."""
    few = coarse[::4, ::4]
    around = ndimage.median_filter(few, max(3, max(few.shape) // 2 | 1), mode="nearest")
    return _skewness(rest) + _skewness(few - around) < 0


def _skewness(values: npt.NDArray[Any]) -> float:
    squares = values * values
    return float((squares * values).mean() / (squares.mean() ** 1.5 + 1e-9))


@functools.lru_cache(maxsize=16)
def _surface(shape: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Terms of a quadratic surface, (6, pixels), and the weight of each pixel, (pixels,)."""
    height, width = shape
    y, x = (axis.ravel() for axis in np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    return terms, 1 + 3.0 * (np.maximum(abs(x), abs(y)) > 0.85)


def _smoothed(values: Grey) -> Grey:
    """Mean over 3×3 pixels; the edge pixels are repeated outside."""
    wide = np.pad(values, 1, mode="edge")
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    smooth: Grey = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) * np.float32(1 / 9)
    return smooth


def _otsu(strength: Grey) -> float:
    """The threshold that separates two classes best (Otsu, "A threshold selection method", 1979)."""
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


def quantile(values: npt.NDArray[np.floating[Any]], fraction: float) -> float:
    """The value below which a fraction of the values lies."""
    place = int(fraction * (values.size - 1))
    return float(np.partition(values, place, axis=None)[place])


def _digit_of(mask: Mask) -> Mask:
    """The connected pieces of ink that belong to the digit, without dirt and edges.

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
    if inside.max() > 0.1 * areas.max():  # pieces at the edge are a shadow or a table, if there are others
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

"""Measures how far each pixel of a picture stands out from the paper, for any colours and any lighting."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Grey = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

WORKING_SIZE = 160  # largest longer side in pixels when a digit is segmented
COARSE_SIZE = 40  # the same for the light on its paper
SHEET = 0.12  # smallest fraction of the picture that a sheet of paper covers, and that the table around it covers
SURROUNDED = 0.3  # the same for a sheet that the table surrounds: the digit is searched only on it
SMALLEST_SHEET = 4  # coarse pixels of its shorter side
SOLID = 0.7  # smallest fraction of its box that a sheet fills: it may be rotated, and has a digit on it
DARKEST = 0.2  # of the brightest paper: on paper that is darker than this, ink is not strengthened further
EIGHT = np.ones((3, 3))  # pixels are connected at their corners too
NORMAL = 1.4826  # standard deviation over median absolute deviation of a normal distribution


def grey_of(picture: Image.Image, size: int = WORKING_SIZE) -> Grey:
    """Project to one channel at working size: the colour axis with the largest variance, oriented towards brighter.

    Ink of any colour then keeps its contrast with the paper, even at the same brightness.

    Args:
        picture: Mode ``L`` or ``RGB``.
        size: Largest longer side of the result, in pixels.
    """
    picture = picture.reduce(math.ceil(max(picture.size) / size))
    pixels = np.asarray(picture, dtype=np.float32)
    if pixels.ndim == 2:
        return pixels
    colours = pixels[:: max(1, len(pixels) // COARSE_SIZE), :: max(1, pixels.shape[1] // COARSE_SIZE)].reshape(-1, 3)
    colours = colours - colours.mean(0)
    axis = np.linalg.eigh(colours.T @ colours)[1][:, -1]
    grey: Grey = pixels @ (axis * (np.sign(axis.sum()) or 1) / np.sqrt(np.float32(3)))
    return grey


def stands_out(grey: Grey, size: int | None = None) -> Grey:
    """How far each pixel stands out from the paper around it: positive for ink, whether dark or bright.

    Args:
        grey: (height, width) float32, from `grey_of`.
        size: For a row of digits, the largest width of a stroke in pixels; None for a third of the longer side.
    """
    coarse = _coarse(grey, min(grey.shape) if size else max(grey.shape))
    dark_ink = _is_dark_on_light(coarse - _light(coarse), coarse)
    if dark_ink:
        grey = -grey
    # The opening below removes what is narrower than size: the strokes. Shadows and stains stay as a part of the paper.
    size = max(3, size or max(grey.shape) // 3) | 1
    margin = size // 2  # the paper continues outside the picture
    wide = np.pad(grey, margin, mode="edge")
    paper = ndimage.grey_opening(wide, size)[margin:-margin, margin:-margin]
    strength: Grey = grey - paper
    strength -= quantile(strength[::2, ::2], 0.5)
    brightest = -quantile(paper[::4, ::4], 0.1)
    if dark_ink and brightest > 0:
        # A shadow darkens paper and ink by the same factor, and so makes their difference smaller.
        strength *= np.maximum(brightest / np.maximum(-paper, DARKEST * brightest), 1)
    return strength


@dataclass(frozen=True)
class Sheet:
    """A sheet of paper on a table.

    Attributes:
        box: Its left, upper, right and lower edge, as fractions of the picture's longer side.
        is_surrounded: Whether the table is visible on two sides at least, and the sheet covers much of the picture,
            and is wider than a 1 in a thick pen.
    """

    box: tuple[float, float, float, float]
    is_surrounded: bool


def sheet(grey: Grey) -> Sheet | None:
    """Find a sheet of paper that is brighter or darker than a table around it."""
    coarse = _coarse(grey)
    threshold = otsu(coarse)
    bright = coarse > threshold
    best, largest = None, SHEET * coarse.size
    for mask in (bright, ~bright):
        pieces, _ = ndimage.label(mask)
        for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), 1):
            piece = pieces[rows, columns] == number
            area = int(piece.sum()) if piece.shape != coarse.shape else 0  # as large as the picture: the table
            if largest < area < (1 - SHEET) * coarse.size and area > SOLID * piece.size:
                best, largest = (rows, columns), area
    if best is None:
        return None
    table = np.ones(coarse.shape, dtype=bool)
    table[best] = False
    if not table.any() or (np.median(coarse[table]) > threshold) == (np.median(coarse[best]) > threshold):
        return None  # both are bright or both dark: the inside of a printed box
    rows, columns = best
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if min(height, width) < SMALLEST_SHEET:
        return None
    free = rows.start > 0, columns.start > 0, rows.stop < coarse.shape[0], columns.stop < coarse.shape[1]
    inner = columns.start + 1, rows.start + 1, columns.stop - 1, rows.stop - 1  # without the edge itself
    left, upper, right, lower = (edge / max(coarse.shape) for edge in inner)
    is_surrounded = (
        sum(free) >= 2 and largest > SURROUNDED * coarse.size and max(height, width) <= 2 * min(height, width)
    )
    return Sheet((left, upper, right, lower), is_surrounded)


def _coarse(grey: Grey, side: int | None = None) -> Grey:
    return np.asarray(Image.fromarray(grey).reduce(math.ceil((side or max(grey.shape)) / COARSE_SIZE)))


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


def _surface(shape: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Terms of a quadratic surface, (6, pixels), and the weight of each pixel, (pixels,)."""
    height, width = shape
    y, x = (axis.ravel() for axis in np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    return terms, 1 + 3.0 * (np.maximum(abs(x), abs(y)) > 0.85)


def _is_dark_on_light(rest: Grey, coarse: Grey) -> bool:
    """Decide by the skewness of the residuals and of the differences from local medians; the medians follow shadows."""
    few = np.asarray(Image.fromarray(coarse).reduce(2))
    around = ndimage.median_filter(few, max(3, min(max(few.shape) // 3, COARSE_SIZE // 6) | 1), mode="nearest")
    return _skewness(rest) + _skewness(few - around) < 0


def _skewness(values: npt.NDArray[Any]) -> float:
    squares = values * values
    return float((squares * values).mean() / (squares.mean() ** 1.5 + 1e-9))


def smoothed(values: Grey) -> Grey:
    """Mean over 3×3 pixels; the edge pixels are repeated outside."""
    wide = np.pad(values, 1, mode="edge")
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    smooth: Grey = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) * np.float32(1 / 9)
    return smooth


def otsu(strength: Grey) -> float:
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


def box_of(mask: Mask) -> tuple[slice, slice]:
    """The rows and columns of the smallest box around ink."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def stroke_of(mask: Mask) -> float:
    """The mean width of the strokes, in pixels."""
    outline = mask & ~ndimage.binary_erosion(mask)
    return float(2 * mask.sum() / outline.sum())


def border(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values along the edge of a picture, (2 · (height + width) − 4,), clockwise from the upper left corner."""
    return np.concatenate([values[0], values[1:-1, -1], values[-1, ::-1], values[-2:0:-1, 0]])

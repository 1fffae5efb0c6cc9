"""Separates a digit's ink from the paper, for any colours and any lighting."""

import functools
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from digits.errors import UserError
from digits.preparation import lines

Grey = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

WORKING_SIZE = 160  # largest longer side in pixels when a digit is segmented
COARSE_SIZE = 40  # the same for its paper
FINE_SIZE = int(os.environ.get('FINE',80))
SMOOTHED = int(os.environ.get('SM',3))
MIN_SIZE = 4  # working pixels of the shorter side
MIN_CONTRAST = 14  # grey values of 255 between ink and paper; less is a stain
MIN_SIGNAL_TO_NOISE = 4.5  # contrast of the ink over the standard deviation of the paper
SHEET = 0.12  # smallest fraction of the picture that a sheet of paper covers, and that it leaves
SOLID = 0.7  # smallest fraction of its box that a sheet fills: it may be rotated, and has a digit on it
FAINT = float(os.environ.get('FA',0.3))  # of the threshold of ink: the threshold of faint ink that is connected to it
LARGEST_FAINT = 0.8
MOST_FAINT = float(os.environ.get('MF',0.35))
CLEAN = 0.12
THICKEST = 0.5
SMALLEST_FRAME = 12
FULLEST = 0.76
UNCLEAN = 0.3
MOST_CONTACTS = 5
LONGEST_CORNER = 0.15
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


def find(picture: Image.Image, near: Mask | None = None) -> Ink:
    """Segment the digit.

    Args:
        picture: Mode ``L`` or ``RGB``.
        near: (height, width) bool, where the digit is, if that is known, in any resolution.

    Raises:
        NoDigitError: If the picture has no digit, or several.
    """
    grey = _grey(picture)
    if min(grey.shape) < MIN_SIZE:
        raise BlankError(f"blank: {picture.width}×{picture.height} pixels are too few for a digit")
    try:
        strength, ink = _ink(grey)
        if near is not None:
            where = np.asarray(Image.fromarray(near).resize(grey.shape[::-1], Image.Resampling.NEAREST))
            ink &= where
        mask = _digit_of(ink)
    except NoDigitError:
        filling = _filling(grey, UNCLEAN)
        if filling is None:
            raise
        return _found(filling, _whole(filling))
    if _like_border(grey, mask) and (filling := _filling(grey, UNCLEAN)) is not None:
        return _found(filling, _whole(filling))
    return _found(strength, mask)


def find_filling(picture: Image.Image) -> Ink | None:
    """Segment a thick digit that fills the picture; None if there is none, or other ink may be there."""
    grey = _grey(picture)
    filling = _filling(grey, CLEAN) if min(grey.shape) >= MIN_SIZE else None
    return None if filling is None else _found(filling, _whole(filling))


def _found(strength: Grey, mask: Mask) -> Ink:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return Ink(strength, mask, (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)))


def _border(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values at the edge of a picture, clockwise."""
    return np.concatenate([values[0], values[1:-1, -1], values[-1, ::-1], values[-2:0:-1, 0]])


def _like_border(grey: Grey, mask: Mask) -> bool:
    """Whether the ink is as bright as most of the picture's border: the paper was taken for ink."""
    ink, paper = (float(np.median(values)) for values in (grey[mask], grey[~mask]))
    return abs(float(np.median(_border(grey))) - ink) < 0.5 * abs(ink - paper)


def _filling(grey: Grey, spread: float) -> Grey | None:
    """How far each pixel stands out from the border, if the picture has two shades, and a thick digit fills it.

    Args:
        spread: Largest variance within the two shades, as a fraction of the whole.
    """
    threshold = _otsu(grey)
    bright = grey > threshold
    ink = bright if _border(bright).mean() < 0.5 else ~bright
    share, edge = float(ink.mean()), _border(ink)
    if not 0.12 < share < 0.8 or edge.mean() > 0.35:
        return None
    paper, full = float(np.median(grey[~ink])), float(np.median(grey[ink]))
    within = float(grey[ink].var() * share + grey[~ink].var() * (1 - share))
    if within > spread * float(grey.var()) or abs(full - paper) < 3 * MIN_CONTRAST:
        return None
    turns = np.flatnonzero(np.diff(edge.astype(np.int8), append=edge[:1].astype(np.int8)))
    if len(turns) > 2 * MOST_CONTACTS:
        return None
    height, width = grey.shape
    corners = np.array([0, width - 1, width + height - 2, 2 * width + height - 3])
    if len(turns):
        lengths = np.diff(turns, append=turns[0] + len(edge))
        for corner in corners[edge[corners]]:
            place = (np.searchsorted(turns, corner) - 1) % len(turns)
            if lengths[place] > LONGEST_CORNER * len(edge):
                return None  # a shadow, or the edge of a table
    if _is_sheet(ink) or 2 * ndimage.distance_transform_edt(np.pad(ink, 1)).max() > THICKEST * max(height, width):
        return None
    strength: Grey = (grey - np.float32(paper)) * np.float32(np.sign(full - paper))
    return strength.clip(0, None)


def _is_sheet(ink: Mask) -> bool:
    """Whether ink has the outline of a rectangle; a 1 is narrower."""
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    inside = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if max(inside.shape) > 2 * min(inside.shape):
        return False
    return bool(inside.mean() > FULLEST or _border(inside).mean() > 0.6)


def _whole(strength: Grey) -> Mask:
    ink = strength > quantile(strength, 0.98) / 2
    pieces, count = ndimage.label(ink, np.ones((3, 3)))
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    areas[0] = 0
    return (areas > 0.03 * areas.max())[pieces]


def _ink(grey: Grey) -> tuple[Grey, Mask]:
    """How far each pixel stands out from the paper, and which ones are ink."""
    strength = _out_of_paper(grey)
    noise = NORMAL * quantile(np.abs(strength[::2, ::2]), 0.5)
    smooth = _smoothed(strength) if noise > 1 else strength
    lowest = max(MIN_CONTRAST / 2, 2.5 * noise)
    stands_out = smooth[smooth > lowest]
    threshold = _otsu(stands_out) if stands_out.size else np.inf
    full = float(stands_out[stands_out > threshold].mean()) if stands_out.max(initial=0) > threshold else 0.0
    if full < max(MIN_CONTRAST, MIN_SIGNAL_TO_NOISE * noise):
        raise BlankError("blank: nothing stands out from the paper")
    threshold = min(threshold, 0.55 * full)  # otherwise it splits a picture of ink alone
    strong = smooth > threshold
    framed = _framed(smooth > lowest)
    if framed is not None and (strong & framed).any():
        strong &= framed
        smooth = np.where(framed, smooth, np.float32(0))
        return strength, _joined(strong, smooth > max(lowest, FAINT * threshold))
    printed = lines.printed(strong)
    if printed.any() and 'L' not in os.environ:
        strength, smooth = (np.where(printed, np.float32(0), values) for values in (strength, smooth))
        strong &= ~printed
        if not strong.any():
            raise BlankError("blank: nothing but printed lines")
    faint = smooth > max(lowest, FAINT * threshold)
    return strength, _joined(strong, faint) if 'H' not in os.environ else strong


def _joined(strong: Mask, faint: Mask) -> Mask:
    """Add the faint ink that is connected to strong ink, without the soft edges of the strokes.

    Faint ink at the picture's border, or larger than the strong ink, is a line or a shadow.
    """
    further = faint & ~ndimage.binary_dilation(strong, iterations=2)
    if not further.any():
        return strong
    pieces, count = ndimage.label(further, np.ones((3, 3)))
    rows, columns = (np.flatnonzero(strong.any(axis)) for axis in (1, 0))
    pieces_of_strong, _ = ndimage.label(strong, np.ones((3, 3)))
    size = max(max(r.stop - r.start, c.stop - c.start) for r, c in ndimage.find_objects(pieces_of_strong))
    good = np.zeros(count + 1, dtype=bool)
    for number, (r, c) in enumerate(ndimage.find_objects(pieces), 1):
        inside = r.start > 0 and c.start > 0 and r.stop < strong.shape[0] and c.stop < strong.shape[1]
        good[number] = inside and max(r.stop - r.start, c.stop - c.start) < LARGEST_FAINT * size
    further &= good[pieces]
    if further.sum() > MOST_FAINT * strong.sum():
        return strong
    near = faint & ndimage.binary_dilation(further, iterations=3)
    linked, count = ndimage.label(strong | near, np.ones((3, 3)))
    anchored = np.zeros(count + 1, dtype=bool)
    anchored[linked[strong]] = True
    return anchored[linked] & (strong | near)


def sheet(picture: Image.Image) -> tuple[tuple[int, int, int, int], bool] | None:
    """Find the edges (left, upper, right, lower) of a sheet of paper on a table; None without one.

    Also whether the table is visible on three sides at least.
    """
    coarse = _shrunk(_grey(picture))
    threshold = _otsu(coarse)
    bright = coarse > threshold
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
    outside = np.ones(coarse.shape, dtype=bool)
    outside[best] = False
    if not outside.any() or (np.median(coarse[outside]) > threshold) == (np.median(coarse[best]) > threshold):
        return None  # the inside of a printed box
    scale = max(picture.size) / max(coarse.shape)
    rows, columns = best
    free = [rows.start > 0, columns.start > 0, rows.stop < coarse.shape[0], columns.stop < coarse.shape[1]]
    inner = columns.start + 1, rows.start + 1, columns.stop - 1, rows.stop - 1  # without the edge itself
    left, upper, right, lower = (round(edge * scale) for edge in inner)
    return (left, upper, right, lower), sum(free) >= 3 and largest > 0.3 * coarse.size


def _grey(picture: Image.Image, size: int = WORKING_SIZE) -> Grey:
    """Project to one channel at working size: the colour axis with the largest variance, oriented towards brighter.

    Ink of any colour then keeps its contrast with the paper, even at the same brightness.
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


def _out_of_paper(grey: Grey) -> Grey:
    """How far each pixel stands out from the paper around it: positive for ink, whether dark or bright."""
    coarse = _shrunk(grey, COARSE_SIZE)
    factors = _light(coarse)
    rest = coarse - _surface_of(factors, coarse.shape)
    dark = _is_dark_on_light(rest, coarse)
    fine = _shrunk(grey, FINE_SIZE)
    light = _surface_of(factors, fine.shape)
    rest = fine if 'NL' in os.environ else fine - light
    if dark:
        grey, light, rest = -grey, -light, -rest
    # Removes what is narrower than a third of the picture, which is a stroke; keeps shadows and stains of the paper.
    size = max(3, max(fine.shape) // 3) | 1
    stains = ndimage.grey_opening(rest, size, mode="nearest")
    paper = (0 if 'NL' in os.environ else light) + ndimage.uniform_filter(stains, SMOOTHED, mode="nearest")
    background = Image.fromarray(paper.astype(np.float32)).resize(grey.shape[::-1], Image.Resampling.BILINEAR)
    background = np.asarray(background)
    strength: Grey = grey - background
    strength = strength - quantile(strength[::2, ::2], 0.5)
    if dark and 'R' not in os.environ:
        # Ink covers the same share of the light everywhere: a shadow darkens the paper and the contrast.
        brightness = -background
        brightest = quantile(brightness[::4, ::4], 0.9)
        if brightness.min() > 0.2 * brightest:
            strength = strength * (brightest / brightness).clip(1, None)
    return strength


def _shrunk(grey: Grey, size: int = COARSE_SIZE) -> Grey:
    return np.asarray(Image.fromarray(grey).reduce(math.ceil(max(grey.shape) / size)))


def _surface_of(factors: npt.NDArray[np.float64], shape: tuple[int, int]) -> Grey:
    return (factors @ _surface(shape)[0]).reshape(shape).astype(np.float32)


def _light(coarse: Grey) -> npt.NDArray[np.float64]:
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
    return factors


def _is_dark_on_light(rest: Grey, coarse: Grey) -> bool:
    """Decide by the skewness of the residuals, and of the differences from local medians, which follow shadows."""
    few = np.asarray(Image.fromarray(coarse).reduce(2))
    around = ndimage.median_filter(few, max(3, max(few.shape) // 3 | 1), mode="nearest")
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


def _framed(ink: Mask) -> Mask | None:
    """The area that a printed box around other ink encloses; None without one."""
    pieces, count = ndimage.label(ink, np.ones((3, 3)))
    if count < 2:
        return None
    boxes = ndimage.find_objects(pieces)
    sizes = np.array([min(r.stop - r.start, c.stop - c.start) for r, c in boxes])
    for number in np.argsort(-sizes)[:3].tolist():
        rows, columns = boxes[number]
        frame = pieces[rows, columns] == number + 1
        if sizes[number] < SMALLEST_FRAME or frame.mean() > 0.4:
            continue
        enclosed = ndimage.binary_fill_holes(frame) & ~frame
        inside = np.flatnonzero(np.bincount(pieces[rows, columns][enclosed], minlength=count + 1)[1:])
        if any(max(r.stop - r.start, c.stop - c.start) > 0.25 * sizes[number] for r, c in (boxes[i] for i in inside)):
            area = np.zeros(ink.shape, dtype=bool)
            area[rows, columns] = enclosed
            return area
    return None

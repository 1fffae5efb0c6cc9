"""Separates a digit's ink from the paper; refuses a picture that has no digit, or several."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from digits.errors import UserError
from digits.preparation import paper, printed, strokes
from digits.preparation.paper import EIGHT, Grey, Mask, quantile

MIN_SIZE = 4  # working pixels of the shorter side
MIN_CONTRAST = 14  # grey values of 255 between ink and paper; less is a stain
MIN_SIGNAL_TO_NOISE = 4.5  # contrast of the ink over the standard deviation of the paper
FAINT = 0.12  # of the threshold of ink: the threshold of faint ink that is connected to it
FAINT_LINES = 0.4  # the same for printed lines
SMALLEST_FAINT = 0.1  # of the size of the strong ink: a smaller faint piece is its soft edge
LARGEST_FAINT = 1.5  # the same: a larger one is a line or a shadow
FEW_FAINT, MOST_FAINT = 3, 0.35  # pieces, and fraction of the strong ink: more of both are the lines of squared paper
SMALL = 80  # pixels of the longer side of a picture in which the edges of strokes are one pixel wide, not two

NOTHING = "blank: nothing stands out from the paper"
TOO_SMALL = "blank: too few pixels for a digit"


class NoDigitError(UserError):
    """A picture has no digit, or several; the message says which."""


class BlankError(NoDigitError):
    """There is nothing on the paper, or only lines, a shadow or a stain."""


@dataclass(frozen=True)
class Ink:
    """The ink in a picture.

    Attributes:
        strength: (height, width) float32, how far each pixel stands out from the paper.
        mask: (height, width) bool, the pixels of the digit.
        removed: (height, width) bool, printed lines that were as dark as ink; None without any.
        steps: What was done to find it, for people.
    """

    strength: Grey
    mask: Mask
    removed: Mask | None = None
    steps: tuple[str, ...] = ()

    @property
    def box(self) -> tuple[slice, slice]:
        """The rows and columns of the digit."""
        return paper.box_of(self.mask)


def find(grey: Grey, near: Mask | None = None) -> Ink:
    """Segment the digit.

    Args:
        grey: (height, width) float32, from `paper.grey_of`.
        near: (height, width) bool, where the digit is, if that is known.

    Raises:
        NoDigitError: If the picture has no digit, or several.
    """
    if min(grey.shape) < MIN_SIZE:
        raise BlankError(TOO_SMALL)
    if near is not None:
        return _find(grey, near)
    try:
        found = _find(grey)
    except NoDigitError:
        if filling := find_filling(grey, strokes.LESS_CLEAR):
            return filling
        raise
    if _is_like_border(grey, found.mask) and (filling := find_filling(grey, strokes.LESS_CLEAR)):
        return filling
    return found


def find_filling(grey: Grey, spread: float = strokes.CLEAR) -> Ink | None:
    """Segment a thick digit that fills the picture, as `strokes.filling` does; None if it may show something else."""
    found = strokes.filling(grey, spread) if min(grey.shape) >= MIN_SIZE else None
    return Ink(*found, steps=("fills the picture",)) if found else None


def _find(grey: Grey, near: Mask | None = None) -> Ink:
    found = _ink(grey)
    mask = _digit_of(found.ink if near is None else found.ink & near)
    if near is None and printed.is_printed(mask, found.with_lines, found.strength):
        raise BlankError("blank: nothing but printed lines")
    if not strokes.are_strokes(found.strength, mask):
        raise BlankError("blank: a shadow, a stain, a line or a speck, but no strokes of a pen")
    if not found.lines.any():
        return Ink(found.strength, mask, steps=found.steps)
    return Ink(np.where(found.lines, np.float32(0), found.strength), mask, found.lines, found.steps)


def _is_like_border(grey: Grey, mask: Mask) -> bool:
    """Whether ink is as bright as most of the picture's border: the paper may have been taken for ink."""
    ink, rest, border = (quantile(values, 0.5) for values in (grey[mask], grey[~mask], paper.border(grey)))
    return abs(border - ink) < 0.5 * abs(ink - rest)


class _Separated(NamedTuple):
    """Ink and paper.

    Attributes:
        strength: How far each pixel stands out from the paper.
        ink: The ink, without what is printed.
        lines: The printed lines that are as dark as ink.
        with_lines: The ink and all printed lines.
        steps: What was done, for people.
    """

    strength: Grey
    ink: Mask
    lines: Mask
    with_lines: Mask
    steps: tuple[str, ...]


def _ink(grey: Grey) -> _Separated:
    """Separate ink from paper."""
    strength = paper.stands_out(grey)
    smooth, lowest, threshold, _ = threshold_of(strength)
    strong = smooth > threshold
    faint = smooth > max(lowest, FAINT * threshold)
    with_lines = smooth > max(lowest, FAINT_LINES * threshold)
    inside = printed.inside_box(smooth > lowest)
    if inside is not None and (strong & inside).any():
        ink = _joined(strong & inside, faint & inside)
        return _Separated(strength, ink, np.zeros_like(strong), with_lines, ("without the printed box",))
    lines = printed.lines(strong, strength)
    strong &= ~lines
    steps: tuple[str, ...] = ("without the printed lines",) if lines.any() else ()
    if printed.has_many_lines(with_lines):
        return _Separated(strength, strong, lines, with_lines, steps)
    joined = _joined(strong, faint)
    steps += ("faint strokes added",) if (joined & ~strong).any() else ()
    return _Separated(strength, joined, lines, with_lines, steps)


def threshold_of(strength: Grey) -> tuple[Grey, float, float, float]:
    """Find the threshold between paper and ink.

    Args:
        strength: (height, width) float32, how far each pixel stands out from the paper.

    Returns:
        The strength without noise, the smallest one that is not noise, the threshold, and the mean of the ink.

    Raises:
        BlankError: If nothing stands out.
    """
    noise = paper.NORMAL * quantile(np.abs(strength[::2, ::2]), 0.5)
    smooth = paper.smoothed(strength) if noise > 1 else strength
    lowest = max(MIN_CONTRAST / 2, 2.5 * noise)
    threshold, full = _threshold(smooth[smooth > lowest])
    if full < max(MIN_CONTRAST, MIN_SIGNAL_TO_NOISE * noise):
        raise BlankError(NOTHING)
    return smooth, lowest, threshold, full


def _threshold(values: Grey) -> tuple[float, float]:
    """The threshold between paper and ink, and the mean of the ink, from the pixels that stand out."""
    threshold = paper.otsu(values) if values.size else np.inf
    if values.max(initial=0) <= threshold:
        return threshold, 0.0
    full = float(values[values > threshold].mean())
    return min(threshold, 0.55 * full), full  # where only ink stands out, Otsu's threshold would divide the ink


def _joined(strong: Mask, faint: Mask) -> Mask:
    """Add the faint ink that is connected to strong ink, without the soft edges of the strokes.

    Faint ink at the picture's border, or larger than the strong ink, is a line or a shadow.
    """
    further = faint & ~ndimage.binary_dilation(strong, iterations=2 if max(strong.shape) > SMALL else 1)
    if not further.any() or not strong.any():
        return strong
    height, width = strong.shape
    size = max(max(_sides(place)) for place in ndimage.find_objects(ndimage.label(strong, EIGHT)[0]))
    pieces, count = ndimage.label(further, EIGHT)
    belongs = np.zeros(count + 1, dtype=bool)
    for number, place in enumerate(ndimage.find_objects(pieces), 1):
        rows, columns = place
        inside = rows.start > 0 and columns.start > 0 and rows.stop < height and columns.stop < width
        belongs[number] = inside and SMALLEST_FAINT * size < max(_sides(place)) < LARGEST_FAINT * size
    further &= belongs[pieces]
    if belongs.sum() > FEW_FAINT and further.sum() > MOST_FAINT * strong.sum():
        return strong
    both = strong | (faint & ndimage.binary_dilation(further, iterations=3))
    pieces, count = ndimage.label(both, EIGHT)
    belongs = np.zeros(count + 1, dtype=bool)
    belongs[pieces[strong]] = True
    return np.asarray(both & belongs[pieces])


def _sides(place: tuple[slice, slice]) -> tuple[int, int]:
    rows, columns = place
    return rows.stop - rows.start, columns.stop - columns.start


def _digit_of(mask: Mask) -> Mask:
    """The connected pieces of ink that belong to the digit, without dirt and edges.

    Raises:
        NoDigitError: If there are several digits.
    """
    pieces, count = ndimage.label(mask, EIGHT)
    if not count:
        raise BlankError(NOTHING)
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    areas[0] = 0
    boxes = ndimage.find_objects(pieces)
    spans = np.array([(r.start, r.stop, c.start, c.stop) for r, c in boxes])
    height, width = mask.shape
    at_edge = (spans[:, 0] == 0) | (spans[:, 1] == height) | (spans[:, 2] == 0) | (spans[:, 3] == width)
    inside = areas[1:] * ~at_edge
    if inside.max() > 0.1 * areas.max():  # if there are other pieces, those at the edge are a shadow or a table
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
            raise NoDigitError("several digits: read them as a row (--row), or cut the others off")
        if gap < 0.2 * size and areas[other + 1] > 0.02 * areas[main + 1]:
            keep.append(other)
    chosen = np.zeros(count + 1, dtype=bool)
    chosen[np.array(keep) + 1] = True
    return np.asarray(chosen[pieces])

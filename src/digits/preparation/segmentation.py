"""Separates a digit's ink from the paper; refuses a picture that has no digit, or several."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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
    found, with_lines = _ink(grey)
    mask = _digit_of(found.mask if near is None else found.mask & near)
    if near is None and printed.is_printed(mask, with_lines, found.strength):
        raise BlankError("blank: nothing but printed lines")
    if not strokes.are_strokes(found.strength, mask):
        raise BlankError("blank: a shadow, a stain, a line or a speck, but no strokes of a pen")
    strength = found.strength if found.removed is None else np.where(found.removed, np.float32(0), found.strength)
    return Ink(strength, mask, found.removed, found.steps)


def _is_like_border(grey: Grey, mask: Mask) -> bool:
    """Whether ink is as bright as most of the picture's border: the paper may have been taken for ink."""
    ink, rest, border = (quantile(values, 0.5) for values in (grey[mask], grey[~mask], paper.border(grey)))
    return abs(border - ink) < 0.5 * abs(ink - rest)


def _ink(grey: Grey) -> tuple[Ink, Mask]:
    """Separate ink from paper; returns the ink without what is printed, and the mask of the ink with all lines."""
    strength = paper.stands_out(grey)
    smooth, lowest, threshold, _ = threshold_of(strength)
    strong = smooth > threshold
    faint = smooth > max(lowest, FAINT * threshold)
    with_lines = smooth > max(lowest, FAINT_LINES * threshold)
    inside = printed.inside_box(smooth > lowest)
    if inside is not None and (strong & inside).any():
        joined = _joined(strong & inside, faint & inside)
        return Ink(strength, joined, steps=("without the printed box",)), with_lines
    lines = printed.lines(strong, strength)
    strong &= ~lines
    joined = strong if printed.has_many_lines(with_lines) else _joined(strong, faint)
    steps: tuple[str, ...] = ("without the printed lines",) if lines.any() else ()
    steps += ("faint strokes added",) if (joined & ~strong).any() else ()
    return Ink(strength, joined, lines if lines.any() else None, steps), with_lines


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
    values = smooth[smooth > lowest]
    threshold = paper.otsu(values) if values.size else np.inf
    full = float(values[values > threshold].mean()) if values.max(initial=0) > threshold else 0.0
    if full < max(MIN_CONTRAST, MIN_SIGNAL_TO_NOISE * noise):
        raise BlankError(NOTHING)
    return smooth, lowest, min(threshold, 0.55 * full), full  # if only ink stands out, Otsu's threshold would divide it


def _joined(strong: Mask, faint: Mask) -> Mask:
    """Add the faint ink that is connected to strong ink, without the soft edges of the strokes.

    Faint ink at the picture's border, or larger than the strong ink, is a line or a shadow.
    """
    further = faint & ~ndimage.binary_dilation(strong, iterations=2 if max(strong.shape) > SMALL else 1)
    if not further.any():
        return strong
    starts, stops = _corners(ndimage.label(strong, EIGHT)[0])
    size = (stops - starts).max(initial=0)
    pieces = ndimage.label(further, EIGHT)[0]
    starts, stops = _corners(pieces)
    sides = (stops - starts).max(1)
    fits = (sides > SMALLEST_FAINT * size) & (sides < LARGEST_FAINT * size)
    belongs = fits & ((starts > 0) & (stops < strong.shape)).all(1)
    further &= np.append(False, belongs)[pieces]
    if belongs.sum() > FEW_FAINT and further.sum() > MOST_FAINT * strong.sum():
        return strong
    both = strong | (faint & ndimage.binary_dilation(further, iterations=3))
    return np.asarray(ndimage.binary_propagation(strong, EIGHT, both))


def _corners(pieces: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each piece, its first row and column, and the row and column after its last ones: two arrays, (pieces, 2)."""
    places = ndimage.find_objects(pieces)
    corners = np.array([[(part.start, part.stop) for part in place] for place in places], np.int64).reshape(-1, 2, 2)
    return corners[..., 0], corners[..., 1]


def _digit_of(mask: Mask) -> Mask:
    """The connected pieces of ink that belong to the digit, without dirt and edges.

    Raises:
        NoDigitError: If there are several digits.
    """
    pieces, count = ndimage.label(mask, EIGHT)
    if not count:
        raise BlankError(NOTHING)
    areas = np.bincount(pieces[mask])[1:]
    starts, stops = _corners(pieces)
    inside = areas * ((starts > 0) & (stops < mask.shape)).all(1)
    if inside.max() > 0.1 * areas.max():  # if there are other pieces, those at the edge are a shadow or a table
        areas = inside
    sides = stops - starts
    main = np.argmax(areas * sides.max(1))
    size, heights = sides[main].max(), sides[:, 0]
    gaps = np.maximum(starts - stops[main], starts[main] - stops).max(1)
    is_tall = np.minimum(heights, heights[main]) > 0.6 * np.maximum(heights, heights[main])
    if (is_tall & (areas > max(0.25 * areas[main], 3)) & (gaps > 0.1 * size)).any():
        raise NoDigitError("several digits: read them as a row (--row), or cut the others off")
    keep = (areas > max(0.02 * areas[main], 3)) & (gaps < 0.2 * size)
    keep[main] = True
    return np.asarray(np.append(False, keep)[pieces])

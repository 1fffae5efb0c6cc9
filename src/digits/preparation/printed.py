"""Finds what is printed on paper: lines from edge to edge, and a box around the digit."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from digits.preparation.paper import EIGHT, Grey, Mask, border, quantile, stroke_of

Line = tuple[int, int]  # its rows at the left and the right edge

SMALLEST = 20  # pixels of the shorter side; in a smaller picture no lines are looked for
MAX_SLOPE = 0.12  # of a line; a page that is photographed at a larger angle is not recognised
MAX_THICKNESS = 0.08  # of the picture's longer side
COVERED = 0.9  # smallest fraction of a line's length that is inked
PARALLEL = 0.04  # largest difference of two slopes
BENT = (0, -1, 1, -2, 2)  # pixels by which a line may deviate from a straight one
MANY = 6  # places where ink reaches the picture's edge; a line has two
DARKER, THICKER = 1.7, 1.7  # times the lines: darker or thicker ink is a pen's
STRETCH, MORE_INK = 7, 1.5  # pixels along a line; times the line's ink: more ink on such a length is a stroke
FULL, STRAIGHT = 0.7, 3  # of the picture's longer side; times the lines' thickness: longer and narrower ink is a line
CROSSED = 2  # spaces between lines: a longer piece of ink across them is a pen's
SMALLEST_BOX = 12  # pixels of the shorter side
THIN = 0.4  # largest fraction of its area that a printed box inks
RECTANGLE = 0.85  # smallest fraction of its box that it encloses; an ellipse has 0.79
INSIDE = 0.25  # of the shorter side of a printed box: smaller ink in it is dirt


def lines(ink: Mask, strength: Grey) -> Mask:
    """The pixels of two or more thin parallel lines that run from edge to edge; a single one may be a stroke.

    Where a stroke crosses a line, the ink is thicker than the line and is kept. A stroke along a line is kept too: it
    has more ink than the rest of the line.

    Args:
        ink: (height, width) bool.
        strength: How far each pixel stands out from the paper.
    """
    if min(ink.shape) < SMALLEST:
        return np.zeros_like(ink)
    level, upright = _parallel(ink), _parallel(ink.T)
    is_ruled = not (level and upright)  # lines of squared paper are darker where they cross, like strokes along a line
    return _along(level, ink, strength, is_ruled) | _along(upright, ink.T, strength.T, is_ruled).T


def _along(parallel: list[Line], ink: Mask, strength: Grey, is_ruled: bool) -> Mask:
    """The pixels of lines from the left edge to the right one, without the strokes along and across them."""
    height, width = ink.shape
    found = np.zeros_like(ink)
    if not parallel:
        return found
    starts, stops = _runs(ink)
    row, columns = np.arange(height)[:, None], np.arange(width)
    for line in parallel:
        near = np.clip(_rows(line, width) + np.array(BENT)[:, None], 0, height - 1)  # (offsets, width)
        inked, start, stop = ink[near, columns], starts[near, columns], stops[near, columns]
        thickness = stop - start
        usual = np.median(thickness[inked])
        thin = inked & (thickness <= min(1.5 * usual + 1, MAX_THICKNESS * max(ink.shape)))
        if is_ruled:
            thin &= ~_strokes_along(strength[near, columns])
        for offset in range(len(BENT)):
            found |= thin[offset] & (row >= start[offset]) & (row < stop[offset])
    return found


def _strokes_along(along: Grey) -> npt.NDArray[np.bool_]:
    """Where a stroke lies along a line: it has more ink than most of the line, (width,) bool.

    Args:
        along: The strength at the rows of the line, and beside it, (offsets, width).
    """
    # The sum: a line between two rows has the same as one on a row.
    total = ndimage.median_filter(along.sum(0), STRETCH, mode="nearest")
    return np.asarray(ndimage.binary_dilation(total > MORE_INK * np.median(total), iterations=STRETCH // 2))


def _parallel(ink: Mask) -> list[Line]:
    """The straight lines from the left edge to the right one that have a parallel."""
    width = ink.shape[1]
    ends = (np.asarray(part.any(1)) for part in (ink[:, :3], ink[:, -3:]))
    left, right = (_middles(end, MAX_THICKNESS * max(ink.shape)) for end in ends)
    if min(len(left), len(right)) < 2:
        return []
    thick = ndimage.maximum_filter1d(ink, 3, axis=0)
    found = []
    for start in left:
        near = [stop for stop in right if abs(start - stop) <= MAX_SLOPE * width]
        covered = {stop: float(thick[_rows((start, stop), width), np.arange(width)].mean()) for stop in near}
        best = max(near, key=lambda stop: covered[stop], default=None)
        if best is not None and covered[best] >= COVERED:
            found.append((start, best))
    slopes = np.array([stop - start for start, stop in found])
    alike = abs(slopes[:, None] - slopes) <= PARALLEL * width
    return [line for line, others in zip(found, alike.sum(1), strict=True) if others > 1]  # more than itself


def _rows(line: Line, width: int) -> npt.NDArray[np.intp]:
    return np.linspace(*line, width).round().astype(np.intp)


def _spans(ink: Mask) -> npt.NDArray[np.intp]:
    """The first and the last place, plus one, of each run of ink along a line, (runs, 2)."""
    return np.flatnonzero(np.diff(np.pad(ink, 1).astype(np.int8))).reshape(-1, 2)


def _middles(ink: Mask, longest: float) -> list[int]:
    """The middle of each run of ink along an edge that is not too long for a line."""
    return [int(start + stop - 1) // 2 for start, stop in _spans(ink) if stop - start <= longest]


def _runs(ink: Mask) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For each pixel of ink the first row of its vertical run, and the row after the last."""
    rows = np.arange(len(ink))[:, None]
    starts = np.maximum.accumulate(np.where(ink, -1, rows), 0) + 1
    stops = np.minimum.accumulate(np.where(ink, len(ink), rows)[::-1], 0)[::-1]
    return starts, stops


def has_many_lines(ink: Mask) -> bool:
    """Whether ink reaches the picture's edge in many places, as on ruled and squared paper."""
    return len(_spans(border(ink))) >= MANY


def is_printed(found: Mask, ink: Mask, strength: Grey) -> bool:
    """Whether found ink only belongs to the lines that reach the picture's edge: it is as dark and as thin as they are.

    A straight piece that is nearly as long as the picture is printed too.

    Args:
        found: (height, width) bool, what may be a digit.
        ink: All ink, of strokes and lines.
        strength: How far each pixel stands out from the paper.
    """
    if not has_many_lines(ink):
        return False
    edge = border(ink)
    thickness, usual = stroke_of(found) - 1, np.median(np.diff(_spans(edge)))
    sides = np.ptp(np.argwhere(found), axis=0) + 1  # pixels of its height and width
    if sides.max() > FULL * max(found.shape) and sides.min() < STRAIGHT * max(usual, 1):
        return True
    is_darker = quantile(strength[found], 0.5) > DARKER * quantile(border(strength)[edge], 0.7)
    return bool(thickness < THICKER * usual) and not is_darker and not _crosses_lines(found, ink)


def _crosses_lines(found: Mask, ink: Mask) -> bool:
    """Whether a piece of ink crosses several lines of ruled paper; squared paper has lines of its own across."""
    for piece, whole in ((found, ink), (found.T, ink.T)):
        starts = np.sort([start for start, _ in _parallel(whole)])
        if len(starts) and not _parallel(whole.T) and len(_spans(whole[0])) + len(_spans(whole[-1])) < MANY:
            places = ndimage.find_objects(ndimage.label(piece, EIGHT)[0])
            longest = max(rows.stop - rows.start for rows, _ in places)
            return bool(longest > CROSSED * np.median(np.diff(starts)))
    return False


def inside_box(ink: Mask) -> Mask | None:
    """The area that a printed box around other ink encloses; None without one."""
    pieces, count = ndimage.label(ink, EIGHT)
    if count < 2:
        return None
    places = ndimage.find_objects(pieces)
    sides = np.array([(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in places])
    for number in np.argsort(-sides.min(1))[:3].tolist():
        frame = pieces[places[number]] == number + 1
        if sides[number].min() < SMALLEST_BOX or frame.mean() > THIN:
            continue
        filled = ndimage.binary_fill_holes(frame)
        if filled.mean() < RECTANGLE:
            continue
        enclosed = filled & ~frame
        inside = np.flatnonzero(np.bincount(pieces[places[number]][enclosed], minlength=count + 1)[1:])
        if sides[inside].max(initial=0) > INSIDE * sides[number].min():
            area = np.zeros(ink.shape, dtype=bool)
            area[places[number]] = enclosed
            return area
    return None

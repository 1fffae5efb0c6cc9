"""Finds the printed lines of ruled and squared paper."""

import itertools

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Line = tuple[int, int]  # its rows at the left and the right edge

MAX_SLOPE = 0.12  # a page that is photographed at a larger angle is not recognised
MAX_THICKNESS = 0.08  # of the picture's longer side
COVERED = 0.9  # of a line's length
PARALLEL = 0.04  # largest difference of two slopes


def printed(ink: Mask) -> Mask:
    """The pixels of two or more thin parallel lines that run from edge to edge; a single one may be a stroke.

    Where a stroke crosses a line, the ink is thicker than the line and is left.

    Args:
        ink: (height, width) bool.
    """
    return _level(ink) | _level(ink.T).T


def _level(ink: Mask) -> Mask:
    """The pixels of lines from the left edge to the right one."""
    found = np.zeros_like(ink)
    height, width = ink.shape
    if min(height, width) < 20:
        return found
    ends = [_thin_runs(ink[:, part].any(1), MAX_THICKNESS * max(ink.shape)) for part in (slice(3), slice(-3, None))]
    if min(map(len, ends)) < 2:
        return found
    thick = ink.copy()
    thick[1:] |= ink[:-1]
    thick[:-1] |= ink[1:]
    columns = np.arange(width)
    lines: list[Line] = []
    for left in ends[0]:
        near = [right for right in ends[1] if abs(left - right) <= MAX_SLOPE * width]
        covered = {right: thick[_rows((left, right), width), columns].mean() for right in near}
        best = max(covered, key=lambda right: covered[right], default=None)
        if best is not None and covered[best] >= COVERED:
            lines.append((left, best))
    slopes = [(right - left) / width for left, right in lines]
    parallel = {
        number
        for pair in itertools.combinations(range(len(lines)), 2)
        if abs(slopes[pair[0]] - slopes[pair[1]]) <= PARALLEL
        for number in pair
    }
    if not parallel:
        return found
    starts, stops = _runs(ink)
    row = np.arange(height)[:, None]
    for number in parallel:
        rows = _rows(lines[number], width)
        # A line may be bent a little: the ink nearest to the straight one.
        for offset in (0, -1, 1, -2, 2):
            at = np.clip(rows + offset, 0, height - 1)
            inked = ink[at, columns]
            start, stop = starts[at, columns], stops[at, columns]
            thickness = np.where(inked, stop - start, 0)
            usual = np.median(thickness[inked]) if inked.any() else 0
            thin = inked & (thickness <= 1.5 * usual + 1) & (thickness <= MAX_THICKNESS * max(ink.shape))
            found |= thin & (row >= start) & (row < stop)
    return found


def _rows(line: Line, width: int) -> npt.NDArray[np.intp]:
    return np.linspace(*line, width).round().astype(np.intp)


def _thin_runs(ink: Mask, longest: float) -> list[int]:
    """The middle of each run of ink along an edge that is not too long for a line."""
    changes = np.flatnonzero(np.diff(np.pad(ink, 1).astype(np.int8)))
    return [int((start + stop - 1) // 2) for start, stop in changes.reshape(-1, 2) if stop - start <= longest]


def _runs(ink: Mask) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For each pixel of ink the first row of its vertical run, and the row after the last."""
    rows = np.arange(len(ink))[:, None]
    starts = np.maximum.accumulate(np.where(ink, -1, rows), 0) + 1
    stops = np.minimum.accumulate(np.where(ink, len(ink), rows)[::-1], 0)[::-1]
    return starts, stops

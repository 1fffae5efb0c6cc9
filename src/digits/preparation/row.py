"""Finds the ink of a row of digits, and which pieces of it are one character."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from digits.preparation import paper, printed, segmentation
from digits.preparation.paper import EIGHT, Grey, Mask
from digits.preparation.segmentation import BlankError, NoDigitError

ROW_SIZE = 1_000  # largest longer side in working pixels; a digit of a row of ten has 40 or more
WIDEST = 0.8  # of the height of a digit: strokes are narrower
LOCAL = 0.5  # of the strongest ink nearby: weaker pixels are paper
FAINTEST = 0.2  # of the usual strength: fainter pixels are paper anywhere
LEVEL = 0.5  # of the row's height: largest distance of a digit at the edge from the middle of the row
TALL = 0.5  # of the tallest piece: lower pieces are parts, separators or dirt
SPECK = 0.12  # of the row's height: a smaller piece is dirt
FLAT = 0.4  # of the row's height: a lower character is a hyphen, a dot or dirt
# Overlap in widths of the narrower piece, from which two pieces are one character; STACKED if one is above the other.
ABOVE_EACH_OTHER, STACKED = 0.5, 0.15
TALLEST = 1.3  # of the row's height: largest height of two stacked pieces, and of a digit at the picture's edge
CLOSE = (0.04, 0.15)  # of the row's height: largest gap, sideways and vertical, to a flat piece that belongs to a digit

WIDE_AT_EDGE = 2.0  # width over height: a wider piece at the picture's edge is not a digit
MOST = 100  # largest number of tall pieces of ink in a row of digits

SEVERAL_ROWS = "several rows: cut one out"

Spans = npt.NDArray[np.int64]
"""First row, row after the last, first column, column after the last of each piece, (pieces, 4); of one, (4,)."""


@dataclass(frozen=True)
class RowInk:
    """The ink of a row, and what is usual in it.

    Attributes:
        strength: (height, width) float32, how far each pixel stands out from the paper.
        pieces: (height, width), the number of the piece of ink that each pixel belongs to, 0 for paper.
        spans: The span of each piece.
        kept: The indices of the pieces that are not dirt.
        height: The usual height of a digit.
        middle: The middle of the row as a straight line, slope and intercept.
        stroke: The usual width of a stroke.
    """

    strength: Grey
    pieces: npt.NDArray[np.int32]
    spans: Spans
    kept: Sequence[int]
    height: float
    middle: tuple[float, float]
    stroke: float

    def below_middle(self, span: Spans) -> float:
        """How far the middle of a character is below that of the row, in heights of the row."""
        slope, start = self.middle
        return float(span[:2].mean() - start - slope * span[2:].mean()) / self.height


def find(grey: Grey) -> RowInk:
    """Separate the ink of a row from the paper, and from dirt.

    Raises:
        NoDigitError: If nothing stands out from the paper, or there are several rows.
    """
    if min(grey.shape) < segmentation.MIN_SIZE:
        raise BlankError(segmentation.TOO_SMALL)
    strength, mask = _ink(grey)
    pieces, count = ndimage.label(mask, EIGHT)
    if not count:
        raise BlankError(segmentation.NOTHING)
    spans = np.array([(r.start, r.stop, c.start, c.stop) for r, c in ndimage.find_objects(pieces)])
    heights, widths = spans[:, 1] - spans[:, 0], spans[:, 3] - spans[:, 2]
    inside = _inside(spans, mask.shape)
    tall = inside & (heights >= TALL * heights[inside].max())
    height = float(np.median(heights[tall]))
    if tall.sum() > MOST:
        raise NoDigitError(f"more than {MOST} pieces of ink: not a row of digits")
    if height < segmentation.MIN_SIZE:
        raise BlankError(segmentation.TOO_SMALL)
    first, last, left, right = spans[tall].T
    overlap = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
    if ((first[:, None] - last > SPECK * height) & (overlap > 0)).any():  # a tall piece lies below another
        raise NoDigitError(SEVERAL_ROWS)
    slope, start = _middle(spans[tall])
    away = abs(spans[:, :2].mean(1) - start - slope * spans[:, 2:].mean(1)) / height
    is_level = (heights > TALL * height) & (heights < TALLEST * height) & (away < LEVEL)
    at_edge = ~inside & is_level & (widths < WIDE_AT_EDGE * heights)
    kept = np.flatnonzero((inside & (away <= 1) & (np.maximum(heights, widths) >= SPECK * height)) | at_edge)
    return RowInk(strength, pieces, spans, kept.tolist(), height, (slope, start), paper.stroke_of(mask))


def _inside(spans: Spans, shape: tuple[int, ...]) -> Mask:
    """Which pieces do not touch the picture's edge; in a tight crop, only its left and right edge counts."""
    beside = (spans[:, 2] > 0) & (spans[:, 3] < shape[1])
    inside = beside & (spans[:, 0] > 0) & (spans[:, 1] < shape[0])
    heights = spans[:, 1] - spans[:, 0]
    cropped = heights[beside & ~inside & (heights > spans[:, 3] - spans[:, 2])]
    if len(cropped) and heights[inside].max(initial=0) < TALL * np.median(cropped):
        return beside
    return inside if inside.any() else np.ones(len(spans), dtype=bool)


def _ink(grey: Grey) -> tuple[Grey, Mask]:
    """How far each pixel stands out from the paper, and the ink: at least half as strong as the strongest ink nearby.

    A digit in a pale pen or in a shadow is thus found beside a strong one.
    """
    side = min(grey.shape)
    for _ in range(2):  # the second time with the height of the digits
        strength = paper.stands_out(grey, round(WIDEST * side))
        smooth, lowest, threshold, full = segmentation.threshold_of(strength)
        places = ndimage.find_objects(ndimage.label(smooth > threshold, EIGHT)[0])
        heights = [rows.stop - rows.start for rows, _ in places]
        side = int(np.median([height for height in heights if height >= TALL * max(heights)]))
    side = max(side // 2, 3) | 1
    nearby = ndimage.uniform_filter(ndimage.maximum_filter(smooth, side), side)
    mask = smooth > np.clip(LOCAL * nearby, min(max(1.5 * lowest, FAINTEST * full), threshold), threshold)
    return strength, mask & ~printed.lines(mask, strength)


def _middle(tall: Spans) -> tuple[float, float]:
    """Fit a straight line through the middles of the tall pieces, slope and intercept.

    Theil-Sen, which is robust: the median of the slopes of all pairs.
    """
    y, x = tall[:, :2].mean(1), tall[:, 2:].mean(1)
    first, second = np.triu_indices(len(x), 1)
    apart = x[second] != x[first]
    slopes = ((y[second] - y[first])[apart]) / (x[second] - x[first])[apart]
    slope = float(np.median(slopes)) if len(x) > 2 and len(slopes) else 0.0
    return slope, float(np.median(y - slope * x))


def groups(row: RowInk) -> list[list[int]]:
    """The pieces of each character, from left to right."""
    found: list[list[int]] = []
    for piece in sorted(row.kept, key=lambda piece: int(row.spans[piece, 2])):
        near = [group for group in found[-3:] if _belongs(span_of(row.spans[group]), row.spans[piece], row.height)]
        if near:
            near[-1].append(piece)
        else:
            found.append([piece])
    return found


def span_of(spans: Spans) -> Spans:
    """The span of several pieces together."""
    return np.array([spans[:, 0].min(), spans[:, 1].max(), spans[:, 2].min(), spans[:, 3].max()])


def _belongs(group: Spans, piece: Spans, height: float) -> bool:
    """Whether a piece is a part of the same character: above or below the others, or flat and close to them."""
    narrower = min(group[3] - group[2], piece[3] - piece[2])
    overlap = min(group[3], piece[3]) - max(group[2], piece[2])
    gap = max(piece[0] - group[1], group[0] - piece[1])
    whole = max(group[1], piece[1]) - min(group[0], piece[0])
    if overlap >= ABOVE_EACH_OTHER * narrower:
        return True
    if overlap >= STACKED * narrower and gap >= 0 and whole < TALLEST * height:
        return True
    is_flat = min(group[1] - group[0], piece[1] - piece[0]) < FLAT * height
    return bool(is_flat and -overlap <= CLOSE[0] * height and gap <= CLOSE[1] * height)

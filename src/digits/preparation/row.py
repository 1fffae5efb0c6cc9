"""Cuts a row of digits into its characters, from left to right."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from digits.preparation import segmentation
from digits.preparation.segmentation import Ink, Mask, NoDigitError

ROW_SIZE = 1_000  # largest longer side in working pixels; a digit of a row has 40 or more
DIRT = 0.12  # of the row's height: ink that is smaller in both directions, and not a dot
FLAT = 0.4  # of the row's height: lower ink is a hyphen or a dot, or belongs to a digit
OVERLAP = 0.5  # of the narrower piece: pieces one above the other belong together
WIDE = 0.95  # of its height: a wider piece may be two digits that touch
SLANTED = 1.1  # of the row's height: a straight stroke that is taller is a slash

Box = tuple[int, int, int, int]  # left, upper, right, lower


@dataclass(frozen=True)
class Character:
    """A digit or a separator of a row.

    Attributes:
        ink: The ink in working pixels.
        separator: ``-``, ``/`` or ``.``; empty for a digit.
    """

    ink: Ink
    separator: str = ""

    def box(self, scale: float) -> Box:
        """Its box in pixels of a picture that is larger by a factor."""
        rows, columns = self.ink.box
        left, upper, right, lower = (
            round(edge * scale) for edge in (columns.start, rows.start, columns.stop, rows.stop)
        )
        return left, upper, right, lower


def characters(picture: Image.Image) -> tuple[list[Character], float]:
    """Find the characters of a row.

    Args:
        picture: Mode ``L`` or ``RGB``, with one row of digits that do not touch.

    Returns:
        The characters from left to right, and the picture's pixels per working pixel.

    Raises:
        NoDigitError: If nothing stands out from the paper, or there are several rows.
    """
    grey = segmentation._grey(picture, ROW_SIZE)
    strength, mask = segmentation._ink(grey)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    spans = np.array([(r.start, r.stop, c.start, c.stop) for r, c in ndimage.find_objects(labels)])
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    at_edge = (spans[:, 0] == 0) | (spans[:, 1] == mask.shape[0]) | (spans[:, 2] == 0) | (spans[:, 3] == mask.shape[1])
    if not at_edge.all():
        areas = areas * ~at_edge
    heights, widths = spans[:, 1] - spans[:, 0], spans[:, 3] - spans[:, 2]
    tall = heights >= 0.5 * heights[areas > 0].max()
    tall &= areas > 0
    height = float(np.median(heights[tall]))
    middle = _baseline(spans, tall)
    centres = (spans[:, :2].mean(1), spans[:, 2:].mean(1))
    away = np.abs(centres[0] - middle(centres[1]))
    if (tall & (away > 0.9 * height)).any():
        raise NoDigitError("several rows: cut one out")
    kept = np.flatnonzero((areas > 0) & (away <= height) & (np.maximum(heights, widths) >= DIRT * height))
    groups = _groups(spans, kept.tolist(), height)
    found = []
    for group in groups:
        chosen = np.zeros(count + 1, dtype=bool)
        chosen[np.array(group) + 1] = True
        top, bottom = spans[group, 0].min(), spans[group, 1].max()
        left, right = spans[group, 2].min(), spans[group, 3].max()
        ink = Ink(strength, chosen[labels], (slice(top, bottom), slice(left, right)))
        x = (left + right) / 2
        separator = _separator(ink, height, ((top + bottom) / 2 - middle(x)) / height)
        if separator != " ":
            found.append(Character(ink, separator))
    return found, max(picture.size) / max(mask.shape)


def _baseline(spans: npt.NDArray[np.int64], tall: Mask) -> np.poly1d:
    """The middle of the row as a straight line, from the middles of its tall pieces."""
    y, x = spans[tall, :2].mean(1), spans[tall, 2:].mean(1)
    if len(x) < 3:
        return np.poly1d([0, float(np.median(y))])
    slopes = [(y[j] - y[i]) / (x[j] - x[i]) for i in range(len(x)) for j in range(i) if abs(x[j] - x[i]) > 1]
    slope = float(np.median(slopes)) if slopes else 0.0  # Theil-Sen: robust against a piece of another row
    return np.poly1d([slope, float(np.median(y - slope * x))])


def _groups(spans: npt.NDArray[np.int64], kept: list[int], height: float) -> list[list[int]]:
    """Pieces that are one character: they are above each other, or a part is close to its digit."""
    groups: list[list[int]] = []
    for piece in sorted(kept, key=lambda piece: int(spans[piece, 2])):
        for group in reversed(groups[-3:]):
            if _belongs(spans[group], spans[piece], height):
                group.append(piece)
                break
        else:
            groups.append([piece])
    return groups


def _belongs(group: npt.NDArray[np.int64], piece: npt.NDArray[np.int64], height: float) -> bool:
    left, right, top, bottom = group[:, 2].min(), group[:, 3].max(), group[:, 0].min(), group[:, 1].max()
    narrower = min(right - left, piece[3] - piece[2])
    overlap = min(right, piece[3]) - max(left, piece[2])
    if overlap >= OVERLAP * narrower:
        return True
    flat = min(bottom - top, piece[1] - piece[0]) < FLAT * height
    gap_x, gap_y = -overlap, max(piece[0] - bottom, top - piece[1])
    upper = min(piece[0], top) if flat else 0
    return bool(flat and gap_x <= 0.04 * height and gap_y <= 0.15 * height and upper >= 0)


def _separator(ink: Ink, height: float, above: float) -> str:
    """A character's separator; empty for a digit, a space for dirt.

    Args:
        above: How far its middle is below the row's middle, in heights of the row.
    """
    rows, columns = ink.box
    tall, wide = rows.stop - rows.start, columns.stop - columns.start
    inside = ink.mask[ink.box]
    if tall < FLAT * height:
        if wide > 2 * tall and abs(above) < 0.3:
            return "-"
        if max(tall, wide) < FLAT * height:
            return "." if above > 0.2 else " "
        return "-"
    if tall > SLANTED * height and 0.15 * tall < wide < tall and _is_straight_and_leans_right(inside):
        return "/"
    return ""


def _is_straight_and_leans_right(mask: Mask) -> bool:
    y, x = np.nonzero(mask)
    y, x = y - y.mean(), x - x.mean()
    slope = (x * y).sum() / (y * y).sum()
    rest = x - slope * y
    width = mask.sum() / len(mask)  # of the stroke, in a row
    return bool(slope < -0.15 and rest.std() < 0.4 * width)

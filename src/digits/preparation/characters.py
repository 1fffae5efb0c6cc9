"""Cuts a row of digits into its characters, from left to right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from digits.preparation import opening, paper, photo, segmentation
from digits.preparation.paper import Mask, quantile
from digits.preparation.row import FLAT, ROW_SIZE, SPECK, RowInk, Spans, find, groups, span_of
from digits.preparation.segmentation import BlankError, Ink

LEVEL, LOW = 0.25, 0.25  # of the row's height, from its middle: a hyphen is nearer, a dot is farther down
LONG = 1.8  # width over height of a hyphen
ROUND = 0.6  # smallest fraction of its box that a dot inks
FAINT_SEPARATOR = 0.6  # of the usual strength: fainter ones are the paper's texture
SLASH, FEW = 1.2, 0.6  # a slash is taller than the tallest other character by this factor; by more if others are few
LEANING, STRAIGHT = 0.15, 0.4  # of a slash: least slope, and largest deviation from a line in widths of a stroke
UPRIGHT = 0.15  # width over height: a narrower stroke is a 1, not a slash
WIDE = 0.9  # of the row's height: wider ink may be two digits that touch
NEAR = 0.15  # of the row's height: largest gap between the pieces of a broken digit
SLOPE, SURE = -0.113, 4  # mean slope of MNIST's digits; number of digits from which the slope of a row counts half
THINNEST = 1.6  # widths of a stroke: where two digits touch, a column has less ink than this

Box = tuple[int, int, int, int]
"""Left, upper, right and lower edge, in pixels of the picture as a viewer shows it."""


@dataclass(frozen=True)
class Character:
    """A digit or a separator of a row.

    Attributes:
        box: Where it is.
        image: The digit, (28, 28) uint8, bright strokes on 0; None for a separator.
        separator: ``-``, ``/`` or ``.``; empty for a digit.
        halves: The two digits that the ink may be instead: wide ink, cut where it is thinnest; or the two pieces of a
            digit that may be broken. Empty for all others.
        is_at_edge: Whether it touches the left or right edge of the picture, and so may be cut off.
    """

    box: Box
    image: npt.NDArray[np.uint8] | None
    separator: str = ""
    halves: tuple["Character", ...] = ()
    is_at_edge: bool = False


def prepare(source: Path | bytes) -> list[Character]:
    """Read a picture and cut its row into characters; raises what `opening.read` and `characters` raise."""
    return characters(opening.read(source, 3 * ROW_SIZE), opening.size_of(source))


def characters(picture: Image.Image, size: tuple[int, int] | None = None) -> list[Character]:
    """Find the characters of a row.

    Args:
        picture: Any size and mode, with one row of digits.
        size: Width and height of the picture in which the boxes are given; None for those of this one.

    Returns:
        The characters from left to right.

    Raises:
        NoDigitError: If nothing stands out from the paper, or there are several rows.
        PictureError: If the file of a PIL image is damaged.
    """
    width, height = size or opening.turned_size(picture)
    picture = opening.upright(picture)
    row = find(paper.grey_of(picture, ROW_SIZE))
    scale = height / row.pieces.shape[0], width / row.pieces.shape[1]
    members = groups(row)
    spans = np.array([span_of(row.spans[group]) for group in members])
    found: list[tuple[Ink, str]] = []
    for number, group in enumerate(members):
        ink = Ink(row.strength, np.isin(row.pieces, np.array(group) + 1))
        separator = _separator(row, ink, spans[number], np.delete(spans, number, axis=0))
        if separator is not None and (found or separator != "."):  # a dot before the first character is dirt
            found.append((ink, separator))
    digits = [ink for ink, separator in found if not separator]
    if not digits:
        raise BlankError(segmentation.NOTHING)
    return list(_characters(row, found, scale, _slant(digits)))


def _characters(
    row: RowInk, found: Sequence[tuple[Ink, str]], scale: tuple[float, float], slant: float
) -> Iterator[Character]:
    """Prepare the characters; two that may be the pieces of one broken digit become one with two halves."""
    number = 0
    while number < len(found):
        ink, separator = found[number]
        character = _character(row, ink, scale, slant, separator)
        number += 1
        if number < len(found) and not separator and not found[number][1] and _is_close(row, ink, found[number][0]):
            other = found[number][0]
            number += 1
            whole = _character(row, Ink(row.strength, ink.mask | other.mask), scale, slant)
            character = replace(whole, halves=(character, _character(row, other, scale, slant)))
        yield character


def _separator(row: RowInk, ink: Ink, span: Spans, others: Spans) -> str | None:
    """The separator that a character is; empty for a digit, None for dirt."""
    inside = ink.mask[ink.box]
    tall, wide = inside.shape
    below = row.below_middle(span)
    if tall >= FLAT * row.height:
        least = SLASH + FEW / (len(others) + 1)
        tallest = (others[:, 1] - others[:, 0]).max(initial=0) or row.height
        if tall > least * tallest and UPRIGHT * tall < wide < tall and _is_slash(inside):
            return "/"
        return "" if inside.sum() > SPECK * row.height * 2 * row.stroke else None
    usual = quantile(row.strength[row.pieces > 0], 0.5)
    if inside.sum() < ROUND * row.stroke**2 or quantile(row.strength[ink.mask], 0.5) < FAINT_SEPARATOR * usual:
        return None
    if wide > LONG * tall and abs(below) < LEVEL:
        return "-"
    return "." if wide < FLAT * row.height and below > LOW and inside.mean() > ROUND else None


def _is_slash(inside: Mask) -> bool:
    """Whether ink is a straight stroke that leans to the right."""
    y, x = np.nonzero(inside)
    y, x = y - y.mean(), x - x.mean()
    slope = float((x * y).sum() / (y * y).sum())
    width = float(inside.sum()) / len(inside)  # of the stroke, along a row of pixels
    return bool(slope < -LEANING and (x - slope * y).std() < STRAIGHT * width)


def _is_close(row: RowInk, left: Ink, right: Ink) -> bool:
    """Whether two characters are as close, and together as narrow, as the pieces of a broken digit."""
    start, stop = left.box[1], right.box[1]
    return bool(stop.start - start.stop < NEAR * row.height and stop.stop - start.start < WIDE * row.height)


def _slant(digits: Sequence[Ink]) -> float:
    """How much more the digits of a row slope than MNIST's, in pixels to the right per pixel down; to be sheared away.

    The fewer digits there are, the less certain is the slope of the row, and the smaller the result.
    """
    slopes = []
    for ink in digits:
        y, x = np.nonzero(ink.mask[ink.box])
        slopes.append(float(((x - x.mean()) * (y - y.mean())).mean() / max(y.var(), 1)))
    return float((np.mean(slopes) - SLOPE) * len(slopes) / (len(slopes) + SURE))


def _sheared(image: npt.NDArray[np.uint8], slant: float) -> npt.NDArray[np.uint8]:
    middle = (len(image) - 1) / 2
    moved = ndimage.affine_transform(image.astype(np.float32), [[1, 0], [slant, 1]], [0, -slant * middle], order=1)
    return np.asarray(moved.clip(0, 255).astype(np.uint8))


def _character(row: RowInk, ink: Ink, scale: tuple[float, float], slant: float, separator: str = "") -> Character:
    rows, columns = ink.box
    left, right = (round(edge * scale[1]) for edge in (columns.start, columns.stop))
    upper, lower = (round(edge * scale[0]) for edge in (rows.start, rows.stop))
    box = left, upper, right, lower
    if separator:
        return Character(box, None, separator)
    halves = tuple(_character(row, half, scale, slant) for half in _halves(row, ink))
    is_at_edge = columns.start == 0 or columns.stop == row.pieces.shape[1]
    return Character(box, _sheared(photo.image_of(ink), slant), halves=halves, is_at_edge=is_at_edge)


def _halves(row: RowInk, ink: Ink) -> Iterator[Ink]:
    """Cut wide ink at the column with the least ink near its middle, if that is thin."""
    inside = ink.mask[ink.box]
    wide = inside.shape[1]
    if wide <= WIDE * row.height:
        return
    amounts = ndimage.uniform_filter1d(inside.sum(0).astype(np.float32), 3)
    first, last = max(1, round(0.25 * wide)), round(0.75 * wide)
    cut = first + int(np.argmin(amounts[first:last]))
    if amounts[cut] > THINNEST * row.stroke:
        return
    is_left = np.arange(ink.mask.shape[1]) < ink.box[1].start + cut
    yield Ink(ink.strength, ink.mask & is_left)
    yield Ink(ink.strength, ink.mask & ~is_left)

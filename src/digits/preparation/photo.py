"""Turns a picture into an image of 28×28 bytes: a photo into a digit as in MNIST, or the whole picture.

The steps are those of MNIST (LeCun et al., "Gradient-based learning applied to document recognition", 1998): the digit
is cut out, scaled into a box of 20×20 that keeps its aspect ratio, and placed into 28×28 by its centre of mass. Only
a digit that is much narrower than those of MNIST is widened.
"""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from digits.model.geometry import IMAGE_SIZE
from digits.preparation import opening, paper, segmentation
from digits.preparation.segmentation import BlankError, NoDigitError

__all__ = ["PREPARATIONS", "Found", "NoDigitError", "digit", "find", "image_of", "prepare", "resized"]

SMALL_DIGIT = 36  # working pixels of the longer side of a digit; a smaller one is segmented again, enlarged
FAINT = 0.75  # of the usual strength: fainter ink is made as strong as the other ink
FAINTEST = 0.2  # the same: ink is strengthened by a factor of five at most
NARROW = 0.5  # width over height: a narrower digit is widened
SINGLE = 2.2  # times the width of a stroke: what is narrower is one upright stroke, a 1, and stays narrow
MIN_STROKE = 2.2  # pixels in the box of 20; MNIST's are 2 to 4
LIGHT = 127  # a lighter edge is paper
BOX = 20  # pixels of the longer side in MNIST's images


def digit(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Find the digit in a picture, and prepare it as in MNIST.

    Args:
        picture: Any size and mode; a digit anywhere in it, dark on light or light on dark.

    Returns:
        (28, 28) uint8, bright strokes on 0.

    Raises:
        NoDigitError: If the picture has no digit, or several.
        PictureError: If the file of a PIL image is damaged.
    """
    return image_of(find(opening.upright(picture)).ink)


class Found(NamedTuple):
    """The ink of a digit, and the part of the picture in which it was found.

    Attributes:
        ink: In working pixels of the part.
        part: Left, upper, right and lower edge, in pixels of the picture.
        steps: What was done to find it, for people.
    """

    ink: segmentation.Ink
    part: tuple[int, int, int, int]
    steps: tuple[str, ...] = ()


def find(picture: Image.Image) -> Found:
    """Find the ink of the digit; a small one is segmented again, enlarged.

    Args:
        picture: Mode ``L`` or ``RGB``.

    Raises:
        NoDigitError: If the picture has no digit, or several.
    """
    found = _find_roughly(picture)
    rows, columns = found.ink.box
    longest = max(rows.stop - rows.start, columns.stop - columns.start)
    left, upper, right, lower = found.part
    scale = max(right - left, lower - upper) / max(found.ink.mask.shape)
    if longest >= SMALL_DIGIT or scale <= 1.5:  # or the picture has hardly more pixels than the working size
        return found
    margin = round(0.7 * longest)
    around = [slice(max(part.start - margin, 0), part.stop + margin) for part in (rows, columns)]
    near = Image.fromarray(ndimage.binary_dilation(found.ink.mask, iterations=2)[around[0], around[1]])
    x, y = around[1].start, around[0].start
    edges = [round(edge * scale) for edge in (x, y, x + near.width, y + near.height)]
    part = left + edges[0], upper + edges[1], min(left + edges[2], right), min(upper + edges[3], lower)
    closer = paper.grey_of(picture.crop(part))
    with suppress(NoDigitError):
        ink = segmentation.find(closer, np.asarray(near.resize(closer.shape[::-1], Image.Resampling.NEAREST)))
        return Found(ink, part, (*found.steps, "small: enlarged"))
    return found


def _find_roughly(picture: Image.Image) -> Found:
    """Find the digit in a picture, or in the sheet of paper on a table that it shows."""
    grey = paper.grey_of(picture)
    whole = (0, 0, *picture.size)
    if filling := segmentation.find_filling(grey):
        return Found(filling, whole, filling.steps)
    sheet = paper.sheet(grey)
    if sheet is None or not sheet.is_surrounded:
        try:
            ink = segmentation.find(grey)
            return Found(ink, whole, ink.steps)
        except BlankError:
            if sheet is None:
                raise
    left, upper, right, lower = (round(edge * max(picture.size)) for edge in sheet.box)
    ink = segmentation.find(paper.grey_of(picture.crop((left, upper, right, lower))))
    return Found(ink, (left, upper, right, lower), ("only the sheet of paper", *ink.steps))


def resized(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Scale a whole picture to 28×28 grey pixels; if its edge is light, invert it to bright on dark.

    A picture that is not square gets margins in the grey of its edge.

    Args:
        picture: Any size and mode.

    Returns:
        (28, 28) uint8.

    Raises:
        PictureError: If the file of a PIL image is damaged.
    """
    grey = opening.upright(picture).convert("L")
    pixels = np.asarray(grey)
    edge = int(np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])))
    width, height = (max(1, round(IMAGE_SIZE * side / max(grey.size))) for side in grey.size)
    small = Image.new("L", (IMAGE_SIZE, IMAGE_SIZE), edge)
    fitted = grey.resize((width, height), Image.Resampling.BICUBIC)
    small.paste(fitted, ((IMAGE_SIZE - width) // 2, (IMAGE_SIZE - height) // 2))
    return 255 - np.asarray(small) if edge > LIGHT else np.asarray(small)


PREPARATIONS = {"photo": digit, "resize": resized}
"""How a picture becomes an image of 28×28 pixels: as a photo of a digit, or as a whole."""


def prepare(source: Path | bytes, how: str) -> npt.NDArray[np.uint8]:
    """Open a picture and prepare it by one of the `PREPARATIONS`, (28, 28) uint8; raises what these two steps raise."""
    return PREPARATIONS[how](opening.read(source))


def image_of(found: segmentation.Ink) -> npt.NDArray[np.uint8]:
    """Scale and place ink as in MNIST, (28, 28) uint8.

    The longer side has 20 pixels, the strokes have full brightness and at least MNIST's width.
    """
    rows, columns = found.box
    mask = found.mask[rows, columns]
    full = paper.quantile(found.strength[found.mask], 0.6)
    values = found.strength[rows, columns] * ndimage.binary_dilation(mask, paper.EIGHT) / full
    values = (values / _relative_strength(values, mask)).clip(0, 1)
    height, width = mask.shape
    if width > SINGLE * paper.stroke_of(
        mask
    ):  # widen a narrow digit before its strokes are made thicker: loops stay open
        wide = max(width, round(NARROW * height))
        source_columns = np.arange(wide) * width // wide
        values, mask = values[:, source_columns], mask[:, source_columns]
    stroke, scale = paper.stroke_of(mask), BOX / max(mask.shape)
    if stroke * scale < MIN_STROKE:
        dilation_side = max(1, round(MIN_STROKE / scale - stroke)) | 1
        values = ndimage.grey_dilation(np.pad(values, dilation_side // 2), dilation_side)
    height, width = values.shape
    scale = BOX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray((255 * values).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return _centred(np.asarray(small))


def _relative_strength(values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Where ink is faint, its strength around each pixel as a fraction of the usual one; 1 elsewhere."""
    side = max(3, round(max(values.shape) / 6)) | 1
    around = ndimage.uniform_filter(ndimage.maximum_filter(np.where(mask, values, 0), side), side)
    return np.where(around < FAINT, around.clip(FAINTEST, 1), 1).astype(np.float32)


def _centred(small: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Place into 28×28 with the centre of mass in the middle."""
    y, x = ndimage.center_of_mass(small)
    top, left = (
        int(np.clip(round(IMAGE_SIZE / 2 - centre), 0, IMAGE_SIZE - side))
        for centre, side in zip((y, x), small.shape, strict=True)
    )
    image = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image

"""Turns a picture into an image of 28×28 bytes: a photo into a digit as in MNIST, or the whole picture.

The steps are those of MNIST (LeCun et al., "Gradient-based learning applied to document recognition", 1998): the digit
is cut out, scaled into a box of 20×20 that keeps its aspect ratio, and placed into 28×28 by its centre of mass. Only
a digit that is much narrower than those of MNIST is widened.
"""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from digits.errors import UserError
from digits.model.geometry import IMAGE_SIZE
from digits.preparation import paper, segmentation
from digits.preparation.segmentation import BlankError, NoDigitError

__all__ = ["PREPARATIONS", "NoDigitError", "PictureError", "digit", "prepare", "read", "resized"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".mpo")
SHOWN_SUFFIX = ".seen.png"  # of the files that `digits predict --show` writes
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 100_000_000  # a phone's picture has up to 50 million, a decompression bomb a billion
USEFUL_SIZE = 2_000  # pixels of the longer side; more do not help to find a digit
SMALL_DIGIT = 36  # working pixels of the longer side of a digit; a smaller one is segmented again, enlarged
FAINT = 0.75  # of the usual strength: fainter ink is made as strong as the other ink
FAINTEST = 0.2  # the same: ink is made five times as strong at most
NARROW = 0.5  # width over height: a narrower digit is widened
SINGLE = 2.2  # times the width of a stroke: what is narrower is one upright stroke, a 1, and stays narrow
MIN_STROKE = 2.2  # pixels in the box of 20; MNIST's are 2 to 4
LIGHT = 127  # a lighter edge is paper
BOX = 20  # pixels of the longer side in MNIST's images


class PictureError(UserError):
    """A file is not a picture, or cannot be read."""


def read(source: Path | bytes) -> Image.Image:
    """Open a picture, turn it upright, and put paper behind it where it is transparent.

    Args:
        source: A file or its content: PNG, JPEG, WebP, BMP, GIF (its first frame) or TIFF.

    Returns:
        The picture in mode ``L`` or ``RGB``.

    Raises:
        PictureError: If it has another format, is damaged or too large, or cannot be read.
    """
    with _failures(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about unusual files; large ones have a limit of our own
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if picture.format in ("JPEG", "MPO"):
                size = 3 * paper.WORKING_SIZE
                picture.draft(picture.mode, (size, size))  # decodes a large picture smaller
            return _upright(picture)


@contextmanager
def _failures() -> Iterator[None]:
    """Turn Pillow's errors into one `PictureError`."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise PictureError(f"too large: more than {MAX_PIXELS // 10**6} million pixels") from error
    except UnidentifiedImageError as error:
        raise PictureError("not a picture: PNG, JPEG, WebP, BMP, GIF and TIFF are read") from error
    except FileNotFoundError as error:
        raise PictureError("no such file") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:  # Pillow raises them for damaged files
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise PictureError(f"cannot be read: {reason}") from error


def in_folder(folder: Path) -> Iterator[str]:
    """The pictures in a folder and below it, in order of their names."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith(".") and not name.endswith(SHOWN_SUFFIX):
                yield os.path.join(place, name)


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
    with _failures():
        picture = _upright(picture)
    found, picture = _found(picture)
    rows, columns = found.box
    longest = max(rows.stop - rows.start, columns.stop - columns.start)
    scale = max(picture.size) / max(found.mask.shape)
    if longest < SMALL_DIGIT and scale > 1.5:  # the picture has a higher resolution than the working size
        margin = round(0.7 * longest)
        around = [slice(max(part.start - margin, 0), part.stop + margin) for part in (rows, columns)]
        near = Image.fromarray(ndimage.binary_dilation(found.mask, iterations=2)[around[0], around[1]])
        left, upper = around[1].start, around[0].start
        edges = (round(edge * scale) for edge in (left, upper, left + near.width, upper + near.height))
        left, upper, right, lower = edges
        closer = paper.grey_of(picture.crop((left, upper, min(right, picture.width), min(lower, picture.height))))
        with suppress(NoDigitError):
            found = segmentation.find(closer, np.asarray(near.resize(closer.shape[::-1], Image.Resampling.NEAREST)))
    return _centred(_boxed(found))


def _found(picture: Image.Image) -> tuple[segmentation.Ink, Image.Image]:
    """Find the digit in a picture, or in the sheet of paper on a table that it shows; return that part too."""
    grey = paper.grey_of(picture)
    if filling := segmentation.find_filling(grey):
        return filling, picture
    sheet = paper.sheet(grey)
    if sheet is None:
        return segmentation.find(grey), picture
    if not sheet.is_surrounded:
        with suppress(BlankError):
            return segmentation.find(grey), picture
    left, upper, right, lower = (round(edge * max(picture.size)) for edge in sheet.box)
    part = picture.crop((left, upper, right, lower))
    return segmentation.find(paper.grey_of(part)), part


def resized(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Scale a whole picture to 28×28 grey pixels; if its edge is light, invert it, as in data sets on black.

    A picture that is not square gets a margin in the grey of its edge.

    Args:
        picture: Any size and mode.

    Returns:
        (28, 28) uint8.

    Raises:
        PictureError: If the file of a PIL image is damaged.
    """
    with _failures():
        grey = _upright(picture).convert("L")
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
    """Read and prepare a picture, (28, 28) uint8, in one of the `PREPARATIONS`; raises what they and `read` raise."""
    return PREPARATIONS[how](read(source))


def _upright(picture: Image.Image) -> Image.Image:
    """Convert to mode L or RGB, upright as in a viewer, and no larger than useful."""
    if picture.mode in ("La", "RGBa"):  # premultiplied, which Pillow converts to few modes
        picture = picture.convert(picture.mode.upper())
    if max(picture.size) >= 2 * USEFUL_SIZE and picture.mode in ("L", "RGB", "RGBA", "LA", "CMYK", "I", "F"):
        picture = picture.reduce(max(picture.size) // USEFUL_SIZE)
    if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("L", "RGB"):
        picture.load()
        return picture
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture.convert("F"))
        values = np.nan_to_num(values, posinf=values.max(where=np.isfinite(values), initial=0), neginf=0)
        # Integers usually have 8, 12 or 16 bits, and floats the range 0 to 1; any other range is stretched.
        usual = (255, 4095, 65535) if picture.mode.startswith("I") else (1, 255)
        darkest, brightest = min(0.0, values.min(initial=0)), values.max(initial=0)
        brightest = next((limit for limit in usual if darkest == 0 and brightest <= limit), brightest)
        return Image.fromarray(
            ((values - darkest) * (255 / ((brightest - darkest) or 1))).clip(0, 255).astype(np.uint8)
        )
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        solid = np.asarray(picture.getchannel("A"), dtype=np.float32)
        grey = np.asarray(picture.convert("L"), dtype=np.float32)
        dark = (grey * solid).sum() < 128 * solid.sum()
        sheet = Image.new("RGBA", picture.size, "white" if dark else "black")
        picture = Image.alpha_composite(sheet, picture)
    return picture.convert("L" if picture.mode in ("1", "LA") else "RGB")


def _boxed(found: segmentation.Ink) -> npt.NDArray[np.uint8]:
    """Scale the digit to 20 pixels on its longer side, with strokes of full brightness and at least MNIST's width."""
    rows, columns = found.box
    mask = found.mask[rows, columns]
    full = paper.quantile(found.strength[found.mask], 0.6)
    around = ndimage.binary_dilation(np.pad(mask, 1), np.ones((3, 3)))[1:-1, 1:-1]
    values = found.strength[rows, columns] * around / full
    values = (values / _relative_strength(values, mask)).clip(0, 1)
    outline = mask & ~ndimage.binary_erosion(mask)
    stroke = 2 * mask.sum() / max(outline.sum(), 1)  # pixels
    is_single = mask.shape[1] <= SINGLE * stroke
    scale = BOX / max(mask.shape)
    if stroke * scale < MIN_STROKE:
        thicker = max(1, round(MIN_STROKE / scale - stroke)) | 1
        values = ndimage.grey_dilation(np.pad(values, thicker // 2), thicker)
    height, width = values.shape
    if not is_single:
        width = max(width, round(NARROW * height))
    scale = BOX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray((255 * values).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(small)


def _relative_strength(values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The strength of the ink around each pixel where it is faint, as a fraction of the usual one; elsewhere 1."""
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

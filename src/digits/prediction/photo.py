"""A person's picture to a digit as MNIST has them: 28×28 bytes, bright strokes on 0. Without torch.

The preparation is MNIST's own (LeCun et al., "Gradient-based learning applied to document recognition", 1998): the
digit is cut out, scaled into a box of 20×20 with its aspect kept, and set into 28×28 by its centre of mass.
"""

import io
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
from digits.prediction import segmentation as ink
from digits.prediction.segmentation import NoDigitError

__all__ = ["NoDigitError", "PictureError", "digit", "read"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
LARGEST_PICTURE = 100_000_000  # pixels; a phone's picture has up to 50 million, a decompression bomb a billion
ENOUGH = 2_000  # pixels of the longer side, more than which no digit needs
SMALL_DIGIT = 36  # working pixels of a digit's longer side below which it is looked at again, closer
THINNEST_STROKE = 2.2  # pixels in the box of 20; MNIST's are 2 to 4
BOX = 20  # pixels of the longer side in MNIST's images


class PictureError(UserError):
    """A file that is no picture, or one that cannot be read."""


def read(source: Path | bytes) -> Image.Image:
    """Open a picture, turn it upright, and lay it on paper where it is transparent.

    Args:
        source: A file, or its content; PNG, JPEG, WebP, BMP, GIF (its first frame) or TIFF.

    Returns:
        In mode ``L`` or ``RGB``.

    Raises:
        PictureError: If it is none of those, is damaged or too large, or cannot be read.
    """
    with _failures(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of strange files; for large ones there is a limit of our own
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:
                raise Image.DecompressionBombError
            if picture.format in ("JPEG", "MPO"):
                picture.draft(picture.mode, (3 * ink.WORKING_SIZE, 3 * ink.WORKING_SIZE))  # decoded smaller, if large
            return _upright(picture)


@contextmanager
def _failures() -> Iterator[None]:
    """Say in our words what Pillow says of a picture that cannot be read."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise PictureError(f"too large: more than {LARGEST_PICTURE // 10**6} million pixels") from error
    except UnidentifiedImageError as error:
        raise PictureError("not a picture: PNG, JPEG, WebP, BMP, GIF and TIFF are read") from error
    except FileNotFoundError as error:
        raise PictureError("no such file") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:  # Pillow's, by what is damaged
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise PictureError(f"cannot be read: {reason}") from error


def digit(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Find the digit in a picture, and make it one of MNIST's.

    Args:
        picture: Any size and mode; a digit anywhere in it, dark on light or light on dark.

    Returns:
        (28, 28) uint8, bright strokes on 0.

    Raises:
        NoDigitError: If nothing stands out from the paper, or several things do.
        PictureError: If it is of a file that turns out to be damaged.
    """
    with _failures():
        picture = _upright(picture)
    try:
        found = ink.find(picture)
    except ink.BlankError:
        sheet = ink.sheet(picture)  # of paper, with the table around it
        if sheet is None:
            raise
        picture = picture.crop(sheet)
        found = ink.find(picture)
    rows, columns = found.box
    longest = max(rows.stop - rows.start, columns.stop - columns.start)
    scale = max(picture.size) / max(found.mask.shape)
    if longest < SMALL_DIGIT and scale > 1.5:  # the picture has more of it than was looked at
        margin = 0.7 * longest
        edges = columns.start - margin, rows.start - margin, columns.stop + margin, rows.stop + margin
        left, upper, right, lower = (round(edge * scale) for edge in edges)
        closer = picture.crop((max(left, 0), max(upper, 0), min(right, picture.width), min(lower, picture.height)))
        with suppress(NoDigitError):
            found = ink.find(closer)
    return _centred(_boxed(found))


def _upright(picture: Image.Image) -> Image.Image:
    """In mode L or RGB, as a viewer shows it, and no larger than a digit needs."""
    if max(picture.size) >= 2 * ENOUGH and picture.mode in ("L", "RGB", "RGBA", "LA", "CMYK", "I", "F"):
        picture = picture.reduce(max(picture.size) // ENOUGH)
    if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("L", "RGB"):
        picture.load()
        return picture
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture.convert("F"))
        values = np.nan_to_num(values, posinf=values.max(where=np.isfinite(values), initial=0), neginf=0)
        # Of whole numbers 8, 12 or 16 bits are usual, of others 0 to 1; what goes beyond is stretched to all greys.
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
        paper = Image.new("RGBA", picture.size, "white" if dark else "black")
        picture = Image.alpha_composite(paper, picture)
    return picture.convert("L" if picture.mode in ("1", "LA", "La") else "RGB")


def _boxed(found: ink.Ink) -> npt.NDArray[np.uint8]:
    """The digit with its longer side of 20 pixels, its strokes at full brightness and no thinner than MNIST's."""
    rows, columns = found.box
    height, width = rows.stop - rows.start, columns.stop - columns.start
    mask = found.mask[rows, columns]
    full = ink.quantile(found.strength[found.mask], 0.6)
    around = ndimage.binary_dilation(np.pad(mask, 1), np.ones((3, 3)))[1:-1, 1:-1]
    values = (found.strength[rows, columns] * around / full).clip(0, 1)
    scale = BOX / max(height, width)
    edge = mask & ~ndimage.binary_erosion(mask)
    stroke = 2 * mask.sum() / max(edge.sum(), 1) * scale
    if stroke < THINNEST_STROKE:
        thicker = max(1, round((THINNEST_STROKE - stroke) / scale)) | 1
        values = ndimage.grey_dilation(np.pad(values, thicker // 2), thicker)
        height, width = values.shape
        scale = BOX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray((255 * values).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(small)


def _centred(small: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Set into 28×28 with the centre of mass in the middle."""
    y, x = ndimage.center_of_mass(small)
    top, left = (
        int(np.clip(round(IMAGE_SIZE / 2 - centre), 0, IMAGE_SIZE - side))
        for centre, side in zip((y, x), small.shape, strict=True)
    )
    image = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image

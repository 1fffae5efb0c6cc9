"""Opens pictures in many formats: turns them upright, puts paper behind transparent ones, and limits their size."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from digits.errors import UserError
from digits.preparation import paper

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".mpo")
SHOWN_SUFFIX = ".seen.png"  # of the files that `digits predict --show` writes
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
TURNED = (5, 6, 7, 8)  # orientations in EXIF whose width is stored as the height
MAX_PIXELS = 100_000_000  # a phone's picture has up to 50 million, a decompression bomb a billion
USEFUL_SIZE = 2_000  # pixels of the longer side; more do not help to find a digit


class PictureError(UserError):
    """A file is not a picture, or cannot be read."""


def read(source: Path | bytes, size: int = 3 * paper.WORKING_SIZE) -> Image.Image:
    """Open a picture, turn it upright, and put paper behind it where it is transparent.

    Args:
        source: A file or its content: PNG, JPEG, WebP, BMP, GIF (its first frame) or TIFF.
        size: Pixels of the longer side that are enough; a larger JPEG may be decoded smaller.

    Returns:
        The picture in mode ``L`` or ``RGB``.

    Raises:
        PictureError: If it has another format, is damaged or too large, or cannot be read.
    """
    with _opened(source) as picture:
        if picture.format in ("JPEG", "MPO"):
            picture.draft(picture.mode, (size, size))  # decodes a large picture smaller
        return upright(picture)


def size_of(source: Path | bytes) -> tuple[int, int]:
    """The width and height of a picture as a viewer shows it; raises what `read` raises."""
    with _opened(source) as picture:
        return turned_size(picture)


def turned_size(picture: Image.Image) -> tuple[int, int]:
    """The width and height of an opened picture as a viewer shows it; Pillow has turned those of TIFF already."""
    width, height = picture.size
    is_turned = picture.format != "TIFF" and picture.getexif().get(ExifTags.Base.Orientation, 1) in TURNED
    return (height, width) if is_turned else (width, height)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[Image.Image]:
    with _failures(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about unusual or large files; MAX_PIXELS limits the size
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield picture


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


@_failures()
def upright(picture: Image.Image) -> Image.Image:
    """Convert a picture to mode L or RGB, upright as in a viewer, and no larger than useful.

    Raises:
        PictureError: If the file of a PIL image is damaged.
    """
    if picture.mode in ("La", "RGBa"):  # premultiplied alpha, which Pillow converts to few modes only
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
        alpha = np.asarray(picture.getchannel("A"), dtype=np.float32)
        grey = np.asarray(picture.convert("L"), dtype=np.float32)
        is_dark = (grey * alpha).sum() < 128 * alpha.sum()
        sheet = Image.new("RGBA", picture.size, "white" if is_dark else "black")
        picture = Image.alpha_composite(sheet, picture)
    return picture.convert("L" if picture.mode in ("1", "LA") else "RGB")

"""Pictures as callers pass them: a path, a PIL image or an array."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from digits.errors import UserError
from digits.model.geometry import IMAGE_SIZE
from digits.preparation import characters, opening, photo


def prepare(picture: Any, how: str = "photo") -> npt.NDArray[np.uint8]:
    """Prepare one picture, (28, 28) uint8.

    Args:
        picture: A path, a PIL image, or an array, (height, width) or (height, width, 3 or 4) uint8; an array of shape
            (28, 28) uint8 is returned as it is.
        how: One of `photo.PREPARATIONS`.

    Raises:
        PictureError: If a file cannot be read as a picture.
        NoDigitError: If a picture has no digit, or several.
        UserError: If it is something else, or an array of another shape or type.
    """
    if isinstance(picture, np.ndarray) and picture.shape == (IMAGE_SIZE, IMAGE_SIZE) and picture.dtype == np.uint8:
        return picture
    if isinstance(picture, str | Path):
        with _named(picture):
            return photo.prepare(Path(picture), how)
    return photo.PREPARATIONS[how](_as_picture(picture))


def prepare_row(picture: Any) -> list[characters.Character]:
    """Cut the picture of a row into its digits and separators; accepts and raises the same as `prepare`."""
    if isinstance(picture, str | Path):
        with _named(picture):
            return characters.prepare(Path(picture))
    return characters.characters(_as_picture(picture))


@contextmanager
def _named(picture: str | Path) -> Iterator[None]:
    """Put the name of a file before the message of an error."""
    try:
        yield
    except (opening.PictureError, photo.NoDigitError) as error:
        raise type(error)(f"{picture}: {error}") from error


def _as_picture(picture: Any) -> Image.Image:
    """An array or a PIL image as a PIL image."""
    if isinstance(picture, Image.Image):
        return picture
    if not isinstance(picture, np.ndarray):
        raise UserError(f"a picture is an array, a path or a PIL image, not {type(picture).__name__}.")
    has_picture_shape = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))
    if picture.dtype != np.uint8 or not has_picture_shape or not picture.size:
        raise UserError(
            f"an array of shape {picture.shape} and {picture.dtype} is not a picture: it has to be uint8, (28, 28) "
            "with bright strokes on 0, or (height, width) or (height, width, 3 or 4)."
        )
    return Image.fromarray(picture)

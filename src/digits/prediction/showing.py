"""Draws what was found in a picture, and what the network reads."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from digits.model.spec import READ
from digits.prediction import pictures
from digits.prediction.pictures import Answer
from digits.prediction.rows import Row
from digits.preparation import opening, photo
from digits.preparation.photo import Found
from digits.preparation.row import ROW_SIZE
from digits.runs.files import save

SIZE = 280  # pixels per side of a digit
GAP = 16
ROW_WIDTH = 1_000  # pixels
DIGIT_IN_ROW = 56  # pixels per side of the network's input of each digit of a row
LINE = 18  # pixels of a line of text
INK, LINES, TRUSTED, DOUBTED = (220, 30, 30), (30, 90, 230), (0, 130, 60), (200, 90, 0)


def show(answer: Answer, how: str = "photo") -> Path | None:
    """Save a drawing as ``FILE.seen.png`` in the folder of the picture, for a picture in which something was found.

    For a digit: the picture with the outline of its ink in red and removed lines in blue, the network's input, and what
    was done to find it. For a row: the box and the input of each digit.

    Args:
        answer: What was read.
        how: How the picture was prepared, one of `photo.PREPARATIONS`.

    Raises:
        UserError: If it cannot be written.
    """
    source = pictures.source_of(answer.picture)
    if answer.row:
        drawn = _row(source, answer.row)
    elif answer.image is not None:
        drawn = _digit(source, answer.image, how)
    else:
        return None
    name = answer.picture if isinstance(source, Path) else "standard-input"
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return save(Path(f"{name}{opening.SHOWN_SUFFIX}"), file.getvalue())


def _digit(source: Path | bytes, image: npt.NDArray[np.uint8], how: str) -> Image.Image:
    picture = opening.read(source)
    original = _scaled(picture.convert("RGB"), SIZE / max(picture.size))
    steps: tuple[str, ...] = ()
    if how == "photo":
        found = photo.find(picture)
        original = _outlined(original, found, SIZE / max(picture.size))
        steps = found.steps
    drawn = Image.new("RGB", (original.width + GAP + SIZE, SIZE + LINE * len(steps)), "white")
    drawn.paste(original, (0, (SIZE - original.height) // 2))
    drawn.paste(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.NEAREST), (original.width + GAP, 0))
    for number, step in enumerate(steps):
        _write(drawn, (4, SIZE + LINE * number), step, "black")
    return drawn


def _outlined(picture: Image.Image, found: Found, scale: float) -> Image.Image:
    """Mark the outline of the ink, and the lines that were removed."""
    left, upper, right, lower = (round(scale * edge) for edge in found.part)
    size = max(right - left, 1), max(lower - upper, 1)

    def enlarged(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))

    ink = enlarged(found.ink.mask)
    marks = [(ndimage.binary_dilation(ink) & ~ink, INK)]
    if found.ink.removed is not None:
        marks.append((enlarged(found.ink.removed), LINES))
    for mask, colour in marks:
        picture.paste(colour, (left, upper), Image.fromarray((255 * mask).astype(np.uint8)))
    return picture


def _row(source: Path | bytes, row: Row) -> Image.Image:
    width, height = opening.size_of(source)
    scale = min(ROW_WIDTH / width, ROW_WIDTH / height)
    original = opening.read(source, ROW_SIZE).convert("RGB").resize((round(scale * width), round(scale * height)))
    digits = [symbol for symbol in row.symbols if symbol.image is not None]
    below = len(digits) * (DIGIT_IN_ROW + 4)
    drawn = Image.new("RGB", (max(original.width, below), original.height + 2 * LINE + DIGIT_IN_ROW), "white")
    drawn.paste(original, (0, LINE))
    draw = ImageDraw.Draw(drawn)
    for symbol in row.symbols:
        left, upper, right, lower = (round(scale * edge) for edge in symbol.box)
        is_read = not symbol.prediction or symbol.prediction.status == READ
        colour = TRUSTED if is_read and not symbol.is_at_edge else DOUBTED
        draw.rectangle((left, upper + LINE, right, lower + LINE), outline=colour)
        _write(drawn, (left, upper), symbol.text, colour)
    for number, symbol in enumerate(digits):
        x, y = number * (DIGIT_IN_ROW + 4), original.height + LINE
        assert symbol.image is not None
        drawn.paste(Image.fromarray(symbol.image).resize((DIGIT_IN_ROW, DIGIT_IN_ROW)), (x, y))
        _write(drawn, (x, y + DIGIT_IN_ROW), symbol.text, "black")
    return drawn


def _scaled(picture: Image.Image, scale: float) -> Image.Image:
    return picture.resize((max(1, round(scale * picture.width)), max(1, round(scale * picture.height))))


def _write(drawn: Image.Image, place: tuple[int, int], text: str, colour: str | tuple[int, int, int]) -> None:
    ImageDraw.Draw(drawn).text(place, text, colour, ImageFont.load_default(14))

"""Reads a row of digits: a postcode, a phone number, a date."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from digits.errors import UserError
from digits.model.spec import READ, UNFAMILIAR, UNSURE
from digits.prediction.predict import DigitReader, Prediction
from digits.preparation.characters import Box, Character

# Two digits are read instead of one if both are more familiar by this many nats; chosen with experiment=compact.
ADVANTAGE = 5.0
TOUCHING = 1.3  # of the row's height: if a wider digit is not trusted, it may be several that touch


@dataclass(frozen=True)
class Symbol:
    """A digit or a separator of a row.

    Attributes:
        text: The digit, or ``-``, ``/`` or ``.``.
        box: Left, upper, right and lower edge, in pixels of the picture as a viewer shows it.
        prediction: The network's prediction; None for a separator.
        image: The input of the network, (28, 28) uint8; None for a separator.
        is_at_edge: Whether it touches the left or right edge of the picture, and so may be cut off.
    """

    text: str
    box: Box
    prediction: Prediction | None
    image: npt.NDArray[np.uint8] | None = field(compare=False)
    is_at_edge: bool = False


@dataclass(frozen=True)
class Row:
    """A row that was read.

    Attributes:
        symbols: From left to right.
        note: Why it is not trusted; empty if it is.
    """

    symbols: tuple[Symbol, ...]
    note: str = ""

    @property
    def text(self) -> str:
        """The digits and separators."""
        return "".join(symbol.text for symbol in self.symbols)

    @property
    def predictions(self) -> list[Prediction]:
        """The predictions of its digits."""
        return [symbol.prediction for symbol in self.symbols if symbol.prediction]

    @property
    def probability(self) -> float:
        """The lowest probability of a digit."""
        return min(prediction.probability for prediction in self.predictions)

    @property
    def status(self) -> str:
        """``unfamiliar`` if a digit is; else ``unsure`` if one is, or may be cut off; else ``read``."""
        if any(prediction.status == UNFAMILIAR for prediction in self.predictions):
            return UNFAMILIAR
        return UNSURE if self.note else READ


def check_rows(how: str) -> None:
    """Raise UserError unless a network's pictures are prepared as photos of digits."""
    if how != "photo":
        raise UserError("this network reads whole pictures, not rows of digits.")


def read(reader: DigitReader, rows: Sequence[Sequence[Character]]) -> list[Row]:
    """Read prepared rows, all digits together."""
    digits = list(_digits(character for row in rows for character in row))
    if not digits:
        return []
    images = np.stack([image for digit in digits if (image := digit.image) is not None])
    predictions = reader.predict_images(images, averaged=True)
    predicted = dict(zip(map(id, digits), predictions, strict=True))
    return [_row(row, predicted) for row in rows]


def _digits(characters: Iterable[Character]) -> Iterator[Character]:
    """The digits, and the halves that they may consist of."""
    for character in characters:
        if character.image is not None:
            yield character
        yield from _digits(character.halves)


def _row(characters: Sequence[Character], predicted: dict[int, Prediction]) -> Row:
    symbols = [symbol for character in characters for symbol in _symbols(character, predicted)]
    height = float(np.median([symbol.box[3] - symbol.box[1] for symbol in symbols if symbol.prediction]))
    notes = []
    for symbol in symbols:
        left, _, right, _ = symbol.box
        if symbol.prediction and symbol.prediction.status != READ:
            doubt = "digits that touch?" if right - left > TOUCHING * height else symbol.prediction.status
            notes.append(f"{symbol.text} at {left}: {doubt}")
        elif symbol.is_at_edge:
            notes.append(f"{symbol.text} at {left}: at the picture's edge, perhaps cut off")
    return Row(tuple(symbols), "; ".join(notes))


def _symbols(character: Character, predicted: dict[int, Prediction]) -> list[Symbol]:
    """A character as one symbol, or as those of its halves if they are much more familiar."""
    if character.image is None:
        return [Symbol(character.separator, character.box, None, None)]
    own = predicted[id(character)]
    if character.halves:
        parts = [symbol for half in character.halves for symbol in _symbols(half, predicted)]
        if min(part.prediction.familiarity for part in parts if part.prediction) > own.familiarity + ADVANTAGE:
            return parts
    return [Symbol(own.label, character.box, own, character.image, character.is_at_edge)]

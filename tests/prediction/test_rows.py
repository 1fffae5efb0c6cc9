"""A row of digits is read from left to right: its text, and a probability and a box for each digit."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from digits.data import sample
from digits.errors import UserError
from digits.model.spec import DataSpec, Thresholds
from digits.prediction import formats, pictures, predict, rows, showing
from digits.prediction.pictures import Answer
from digits.prediction.predict import DigitReader, Prediction
from digits.prediction.rows import Row, Symbol
from digits.preparation.characters import Character
from digits.preparation.opening import PictureError
from digits.preparation.photo import NoDigitError

IMAGES, LABELS = sample.load()


def row_of_digits(reader: DigitReader, number: int, seed: int = 0) -> tuple[str, Image.Image]:
    """The text and a picture of a row of digits, dark on white, that the network reads with certainty."""
    read = enumerate(reader.predict_images(IMAGES[:400]))
    sure = [index for index, each in read if each.probability > 0.999 and each.status == "read"]
    chosen = np.random.default_rng(seed).choice(sure, number)
    strip = np.concatenate([IMAGES[index] for index in chosen], axis=1)
    picture = Image.fromarray(255 - strip).resize((strip.shape[1] * 3, strip.shape[0] * 3), Image.Resampling.BICUBIC)
    paper = Image.new("L", (picture.width + 120, picture.height + 80), 255)
    paper.paste(picture, (60, 40))
    return "".join(str(reader.predict(IMAGES[index]).digit) for index in chosen), paper


def test_a_row_is_read_from_every_form_of_a_picture(reader: DigitReader, tmp_path: Path) -> None:
    right = 0
    for seed in range(10):
        text, picture = row_of_digits(reader, 5, seed)
        row = reader.read_row(picture)
        right += row.text == text
        lefts = [symbol.box[0] for symbol in row.symbols]
        assert lefts == sorted(lefts)
    assert right >= 8
    picture.save(tmp_path / "row.png")
    for form in (
        tmp_path / "row.png",
        str(tmp_path / "row.png"),
        np.asarray(picture),
        np.asarray(picture.convert("RGB")),
    ):
        assert reader.read_row(form).text == row.text
    assert row.probability == min(prediction.probability for prediction in row.predictions)


def test_pictures_and_arguments_that_are_not_a_row_are_refused(reader: DigitReader, tmp_path: Path) -> None:
    Image.new("L", (300, 90), 230).save(tmp_path / "blank.png")
    with pytest.raises(NoDigitError, match=r"blank\.png: blank: nothing stands out"):
        reader.read_row(tmp_path / "blank.png")
    with pytest.raises(PictureError, match=r"gone\.png: no such file"):
        reader.read_row("gone.png")
    for wrong in (np.zeros((90, 300)), np.zeros((3, 28, 28), np.uint8), np.zeros((0, 9), np.uint8)):
        with pytest.raises(UserError, match="is not a picture: it has to be uint8"):
            reader.read_row(wrong)
    with pytest.raises(UserError, match="a picture is an array, a path or a PIL image, not int"):
        reader.read_row(7)  # type: ignore[arg-type]
    whole = DigitReader(reader.outputs, data=DataSpec(prepare="resize"))
    with pytest.raises(UserError, match="this network reads whole pictures, not rows"):
        whole.read_row(tmp_path / "blank.png")


def test_every_digit_of_a_row_is_averaged_over_copies(scripted: DigitReader, monkeypatch: pytest.MonkeyPatch) -> None:
    averaged: list[int] = []
    monkeypatch.setattr(predict, "views", lambda images: averaged.append(len(images)) or [])
    rows.read(scripted, [[character(7, 0, (left, 0, left + 20, 40)) for left in (0, 30, 60)]])
    assert averaged == [3]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> DigitReader:
    """Reads an image as the digit in its first pixel, with a familiarity from the second."""
    monkeypatch.setattr(predict, "views", lambda images: [])
    return DigitReader(
        lambda images: (np.eye(10, dtype=np.float32)[images[:, 0, 0]], images[:, 0, 1] - np.float32(50)),
        thresholds=Thresholds(familiarity=-10),
    )


def character(digit: int, familiarity: int, box: tuple[int, int, int, int], *halves: Character) -> Character:
    image = np.zeros((28, 28), np.uint8)
    image[0, :2] = digit, 50 + familiarity
    return Character(box, image, halves=halves)


@pytest.mark.parametrize(
    ("whole", "left", "right", "text", "note"),
    [
        (5, 0, 0, "8", ""),  # the whole is more familiar than its halves
        (-2, 0, 0, "8", ""),  # the halves are only a little more familiar
        (-9, 5, -8, "8", ""),  # only one half is much more familiar
        (-9, 5, 5, "13", ""),
        (-20, -19, 5, "8", "8 at 10: digits that touch?"),
    ],
)
def test_one_digit_or_two_that_touch(
    scripted: DigitReader, whole: int, left: int, right: int, text: str, note: str
) -> None:
    halves = character(1, left, (10, 0, 40, 40)), character(3, right, (40, 0, 70, 40))
    sevens = [character(7, 0, (left, 0, left + 20, 40)) for left in (90, 120)]
    (row,) = rows.read(scripted, [[character(8, whole, (10, 0, 70, 40), *halves), *sevens]])
    assert (row.text, row.note) == (f"{text}77", note)
    assert row.status == ("unfamiliar" if note else "read")


def test_a_digit_that_may_be_cut_off_is_unsure(scripted: DigitReader) -> None:
    found = [character(7, 0, (0, 0, 20, 40)), Character((60, 20, 70, 24), None, "-")]
    found[0] = Character(found[0].box, found[0].image, is_at_edge=True)
    (row,) = rows.read(scripted, [found])
    assert (row.text, row.status, row.note) == ("7-", "unsure", "7 at 0: at the picture's edge, perhaps cut off")
    assert rows.read(scripted, []) == []


SEVEN = Prediction((0, 0, 0, 0, 0, 0, 0.1, 0.9, 0, 0))
SYMBOLS = Symbol("7", (1, 2, 3, 4), SEVEN, IMAGES[0]), Symbol("-", (5, 2, 9, 4), None, None)
ANSWERS = [
    Answer("a.png", "read", None, "", None, Row(SYMBOLS)),
    Answer("b.png", "no digit", None, "blank: nothing", None),
]


def test_rows_as_json_csv_and_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    with formats.as_json(formats.full_row_record) as write:
        for answer in ANSWERS:
            write(answer)
    first, second = json.loads(capsys.readouterr().out)
    assert {name: first[name] for name in formats.ROW_COLUMNS} == {
        "picture": "a.png",
        "status": "read",
        "text": "7-",
        "probability": 0.9,
        "note": "",
    }
    seven, hyphen = first["symbols"]
    assert (seven["text"], seven["box"], seven["status"], seven["probability"]) == ("7", [1, 2, 3, 4], "read", 0.9)
    assert (seven["second"], seven["second_probability"]) == (6, 0.1)
    assert (seven["at_edge"], seven["familiarity"], hyphen["familiarity"]) == (False, 0.0, None)
    assert (hyphen["text"], hyphen["box"], hyphen["probability"]) == ("-", [5, 2, 9, 4], None)
    assert (second["text"], second["symbols"], second["note"]) == (None, [], "blank: nothing")
    with formats.as_csv(formats.row_record, formats.ROW_COLUMNS) as write:
        for answer in ANSWERS:
            write(answer)
    one, other = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (one["text"], one["probability"], other["status"]) == ("7-", "0.9", "no digit")
    with formats.as_row_table() as write:
        for answer in ANSWERS:
            write(answer)
    header, one_line, other_line = capsys.readouterr().out.splitlines()
    assert header.split() == ["row", "probability", "picture"]
    assert len(header) <= 80
    assert one_line.split() == ["7-", "90.00", "%", "a.png"]
    assert other_line.split() == ["–", "b.png", "(blank:", "nothing)"]


def test_several_pictures_of_rows_are_read_and_drawn(reader: DigitReader, tmp_path: Path) -> None:
    _, picture = row_of_digits(reader, 4, 3)
    picture.save(tmp_path / "row.png")
    (tmp_path / "text.png").write_text("7")
    names = [str(tmp_path / name) for name in ("row.png", "text.png")]
    with pictures.prepare(names, are_rows=True) as prepared:
        first, second = pictures.read_rows(reader, prepared)
    assert first.row == reader.read_row(names[0])
    assert (first.status, second.status, second.row) == (first.row.status, "failed", None)  # type: ignore[union-attr]
    shown = showing.show(first)
    assert shown == tmp_path / "row.png.seen.png"
    with Image.open(shown) as drawing:
        pixels = np.asarray(drawing.convert("RGB")).reshape(-1, 3)
    assert (pixels == showing.TRUSTED).all(1).any() or (pixels == showing.DOUBTED).all(1).any()
    with pytest.raises(UserError, match="reads whole pictures"), pictures.prepare(names, "resize", are_rows=True):
        pass

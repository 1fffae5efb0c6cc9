"""Pictures are found by name, pattern or folder, and read in order, and each gets an answer."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from digits.data import sample
from digits.errors import UserError
from digits.model.spec import READ, UNFAMILIAR, UNSURE, Thresholds
from digits.prediction import formats, pictures, showing
from digits.prediction.pictures import FAILED, NO_DIGIT, Answer
from digits.prediction.predict import DigitReader, Prediction
from digits.preparation import parallel
from digits.preparation.parallel import BATCH_SIZE

from ..helpers import draw

IMAGES, LABELS = sample.load()


def read(reader: DigitReader, names: list[str]) -> list[Answer]:
    with pictures.prepare(names) as prepared:
        return list(pictures.read(reader, prepared))


def test_pictures_are_found_once_in_files_patterns_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["b.png", "a.JPG", "below/c.gif", "below/deeper/d.webp"]
    for name in [*names, "notes.txt", "a.JPG.seen.png", ".hidden.png", ".thumbnails/e.png"]:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert pictures.find(["."]) == ["./a.JPG", "./b.png", "./below/c.gif", "./below/deeper/d.webp"]
    assert pictures.find(["*.png"]) == ["b.png"]
    assert pictures.find(["b.png", "-", "below", "b.png", "gone.png"]) == [
        "b.png",
        "-",
        "below/c.gif",
        "below/deeper/d.webp",
        "gone.png",
    ]
    with pytest.raises(UserError, match="an empty name"):
        pictures.find(["b.png", ""])
    Path("[1].png").touch()
    assert pictures.find(["[1].png"]) == ["[1].png"]


@pytest.mark.parametrize("word", ["empty", "*.tiff"])
def test_a_folder_or_a_pattern_without_pictures_is_refused(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(UserError, match="has no pictures; their names end with .png"):
        pictures.find([word])


def test_every_picture_gets_an_answer(reader: DigitReader, tmp_path: Path) -> None:
    good = draw(tmp_path / "good.png", 5)
    Image.new("L", (90, 90), 230).save(tmp_path / "blank.png")
    (tmp_path / "text.png").write_text("7")
    names = [good, str(tmp_path / "blank.png"), str(tmp_path / "text.png"), str(tmp_path / "gone.png")]
    found = read(reader, names)
    assert [answer.picture for answer in found] == names
    assert found[0].status in (READ, UNSURE, UNFAMILIAR)
    assert [answer.status for answer in found[1:]] == [NO_DIGIT, FAILED, FAILED]
    assert [answer.note.split(":")[0] for answer in found[1:]] == ["blank", "not a picture", "no such file"]
    assert found[0].prediction == reader.predict(Path(good))
    assert found[0].image is not None
    assert found[1].prediction is found[1].image is None


@pytest.mark.parametrize(
    ("four", "familiarity", "status", "note"),
    [
        (0.9, 5, READ, ""),
        (0.6, 5, UNSURE, "unsure: 4 or 9"),
        (0.9, 1, UNFAMILIAR, "unfamiliar: not a digit, or unlike all that the network has learned"),
        (0.6, 1, UNFAMILIAR, "unfamiliar: not a digit, or unlike all that the network has learned"),
    ],
)
def test_the_status_and_the_note_of_a_prediction(
    four: float, familiarity: float, status: str, note: str, tmp_path: Path
) -> None:
    row = np.float32([0, 0, 0, 0, four, 0, 0, 0, 0, 1 - four])
    reader = DigitReader(
        lambda images: (np.stack([row] * len(images)), np.full(len(images), familiarity, np.float32)),
        thresholds=Thresholds(probability=0.7, familiarity=2),
    )
    (answer,) = read(reader, [draw(tmp_path / "four.png", 0)])
    assert (answer.status, answer.note) == (status, note)
    assert answer.prediction is not None
    assert answer.prediction.status == status


def test_many_pictures_are_read_in_order_by_several_processes(reader: DigitReader, tmp_path: Path) -> None:
    names = [draw(tmp_path / f"{index:03}.png", 13 * index) for index in range(BATCH_SIZE + 90)]
    names.insert(70, str(tmp_path / "gone.png"))
    found = read(reader, names)
    assert [answer.picture for answer in found] == names
    assert found[70].status == FAILED
    expected = reader.predict([Path(name) for name in names if "gone" not in name])
    assert [answer.prediction for answer in found if answer.prediction] == expected


def test_reading_that_stops_early_leaves_no_process_behind(reader: DigitReader, tmp_path: Path) -> None:
    import multiprocessing

    names = [draw(tmp_path / f"{index:03}.png", index) for index in range(BATCH_SIZE + 1)]
    with pictures.prepare(names) as prepared:
        assert next(iter(pictures.read(reader, prepared))).picture == names[0]
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()


def test_a_picture_from_standard_input(reader: DigitReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(draw(tmp_path / "seven.png", 40))
    pictures._standard_input.cache_clear()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    (answer,) = read(reader, ["-"])
    assert answer.prediction == reader.predict(path)
    monkeypatch.chdir(tmp_path)
    assert showing.show(answer) == Path("standard-input.seen.png")
    pictures._standard_input.cache_clear()


def test_the_input_of_the_network_is_saved_beside_the_picture(reader: DigitReader, tmp_path: Path) -> None:
    (answer,) = read(reader, [draw(tmp_path / "seven.png", 7)])
    path = showing.show(answer)
    assert path == tmp_path / "seven.png.seen.png"
    assert path is not None
    with Image.open(path) as shown:
        assert shown.height >= 280
        seen = np.asarray(shown.convert("L"))[5:280:10, -275::10]
    assert answer.image is not None
    np.testing.assert_array_equal(seen, answer.image)


ANSWERS = [
    Answer("a.png", READ, Prediction((0.0, 0.9, 0.06, 0.04, 0, 0, 0, 0, 0, 0)), "", IMAGES[0]),
    Answer("b ü.png", NO_DIGIT, None, "blank: nothing", None),
]


def test_answers_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with formats.as_json() as write:
        for answer in ANSWERS:
            write(answer)
    first, second = json.loads(capsys.readouterr().out)
    assert first == {
        "picture": "a.png",
        "status": "read",
        "digit": 1,
        "label": "1",
        "probability": 0.9,
        "second": 2,
        "second_probability": 0.06,
        "third": 3,
        "third_probability": 0.04,
        "note": "",
    }
    assert (second["picture"], second["digit"], second["note"]) == ("b ü.png", None, "blank: nothing")
    clothes = Prediction((0.1, 0.2, 0.7), ("coat", "bag", "ankle boot"))
    with formats.as_json() as write:
        write(Answer("c.png", READ, clothes, "", IMAGES[0]))
    (third,) = json.loads(capsys.readouterr().out)
    assert (third["digit"], third["label"], third["second"], third["third"]) == (2, "ankle boot", "bag", "coat")
    with formats.as_json():
        pass
    assert json.loads(capsys.readouterr().out) == []


def test_answers_as_csv_and_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    for form in (formats.as_csv, formats.as_table):
        with form() as write:
            for answer in ANSWERS:
                write(answer)
    lines = capsys.readouterr().out.splitlines()
    first, second = csv.DictReader(lines[:3])
    assert (first["digit"], first["probability"], second["digit"]) == ("1", "0.9", "")
    assert lines[4].split() == ["1", "90.00", "%", "2", "6.00", "%,", "3", "4.00", "%", "a.png"]
    assert lines[5].split() == ["–", "b", "ü.png", "(blank:", "nothing)"]
    clothes = Prediction((0.1, 0.7), ("bag", "ankle boot"))
    with formats.as_table(clothes.classes) as write:
        write(Answer("c.png", READ, clothes, "", IMAGES[0]))
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["class", "probability", "then", "picture"]
    assert line.split() == ["ankle", "boot", "70.00", "%", "bag", "10.00", "%", "c.png"]


def test_without_semaphores_one_process_prepares_all_pictures(
    reader: DigitReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, where /dev/shm is read-only."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(parallel, "ProcessPoolExecutor", refuse)
    names = [draw(tmp_path / f"{number}.png", 10 * number) for number in range(BATCH_SIZE + 1)]
    assert [answer.picture for answer in read(reader, names)] == names


@pytest.mark.parametrize("lines", [False, True])
def test_the_drawing_shows_the_outline_and_removed_lines(lines: bool, reader: DigitReader, tmp_path: Path) -> None:
    """Removed lines are blue, and a line of text below the drawing names that step."""
    picture = Image.new("RGB", (400, 400), "white")
    digit = Image.fromarray(IMAGES[40]).resize((150, 150), Image.Resampling.BICUBIC)
    picture.paste("black", (125, 125), digit)
    for place in (60, 330) if lines else ():
        picture.paste((40, 40, 40), (0, place, picture.width, place + 6))
    picture.save(tmp_path / "seven.png")
    (answer,) = read(reader, [str(tmp_path / "seven.png")])
    shown = showing.show(answer)
    assert shown is not None
    with Image.open(shown) as drawing:
        assert drawing.height == 280 + 18 * lines
        pixels = np.asarray(drawing.convert("RGB")).reshape(-1, 3)
    assert (pixels == showing.INK).all(1).sum() > 100  # the outline of the digit
    assert (pixels == showing.LINES).all(1).any() == lines


def test_nothing_is_drawn_if_nothing_was_read() -> None:
    assert showing.show(ANSWERS[1]) is None

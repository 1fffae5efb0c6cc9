"""A folder of pictures: its classes, its parts, the skipped pictures, and the file of the prepared ones."""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from digits.config import DataConfig
from digits.data import folder
from digits.data.mnist import MNISTDataModule
from digits.errors import UserError
from digits.preparation import photo

from ..helpers import paper, sample_digits


def put(root: Path, name: str, number: int = 3, start: int = 0) -> None:
    """Write pictures of digits, all different, into the folder of a class."""
    (root / name).mkdir(parents=True, exist_ok=True)
    images, _ = sample_digits()
    for index in range(start, start + number):
        paper(images[500 * (len(name) % 10) + index]).save(root / name / f"{index}.png", compress_level=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes, with 6, 5 and 4 pictures."""
    for number, name in ((6, "9"), (5, "bb"), (4, "10 c")):
        put(tmp_path / "pictures", name, number)
    return tmp_path / "pictures"


def same(one: folder.Pictures, other: folder.Pictures) -> bool:
    arrays = ("images", "labels", "test")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)


def test_classes_are_in_natural_order(root: Path) -> None:
    pictures = folder.read(root, "photo")
    assert pictures.classes == ("9", "10 c", "bb")
    assert np.bincount(pictures.labels).tolist() == [6, 4, 5]
    assert not pictures.test.any()
    assert (pictures.images[0] == photo.prepare(root / "9/0.png", "photo")).all()
    resized = folder.read(root, "resize")
    assert (resized.images[0] == photo.prepare(root / "9/0.png", "resize")).all()
    assert (resized.images[0] != pictures.images[0]).any()


@pytest.mark.slow
def test_pictures_are_prepared_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = folder.read(root, "photo")
    prepared: list[str] = []
    prepare = folder.parallel.prepare

    def counted(names: Any, prepare_one: Any) -> Any:
        prepared.extend(names)
        return prepare(names, prepare_one)

    monkeypatch.setattr(folder.parallel, "prepare", counted)
    assert same(folder.read(root, "photo"), first)
    assert not prepared
    put(root, "bb", 1, start=7)  # one more
    assert len(folder.read(root, "photo").labels) == 16
    os.utime(root / "bb/7.png", ns=(1, 1))  # changed
    folder.read(root, "photo")
    shutil.copy(root / "bb/0.png", root / "bb/7.png")
    assert len(folder.read(root, "photo").labels) == 15  # the same picture twice counts once
    (root / "bb/7.png").unlink()
    assert same(folder.read(root, "photo"), first)
    assert len(prepared) == 3 * 16 + 15


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_pictures_are_prepared_again_if_their_file_is_damaged(damage: str, root: Path) -> None:
    first = folder.read(root, "photo")
    cache = root / ".digits-photo.npz"
    content = cache.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    cache.write_bytes({"cut": content[:middle], "flipped": flipped, "empty": b"", "other": b"PK text"}[damage])
    assert same(folder.read(root, "photo"), first)
    assert cache.read_bytes() == content


def test_a_broken_link_is_skipped(root: Path) -> None:
    put(root, "bb", 12)
    (root / "bb/gone.png").symlink_to(root / "nowhere.png")
    assert folder.read(root, "photo").skipped == {"bb/gone.png": "no such file"}


def test_nothing_is_written_into_a_folder_that_is_only_read(root: Path) -> None:
    """A checkpoint can name any folder; with ``mirrors=[]`` it is only read."""
    data = MNISTDataModule(DataConfig("folder", str(root), val_size=0, mirrors=[]))
    data.setup()
    assert not list(root.glob(".*"))


def test_pictures_in_a_read_only_folder_are_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(folder, "atomic", refuse)
    assert len(folder.read(root, "photo").labels) == 15
    assert not list(root.glob(".*"))


def test_pictures_can_be_divided_into_train_and_test_folders(tmp_path: Path) -> None:
    for part, number, start in (("train", 4, 0), ("test", 2, 10)):
        for name in ("a", "bb"):
            put(tmp_path / part, name, number, start)
    pictures = folder.read(tmp_path, "photo")
    assert pictures.classes == ("a", "bb")
    assert pictures.test.sum() == 4
    shutil.copy(tmp_path / "test/a/10.png", tmp_path / "train/a/copy.png")  # in both parts: belongs to the test
    pictures = folder.read(tmp_path, "photo")
    assert (len(pictures.labels), pictures.test.sum()) == (12, 4)
    data = MNISTDataModule(DataConfig("folder", str(tmp_path), batch_size=4, val_size=0))
    data.setup()
    assert data.description.items() >= {"train": 8, "val": 0, "test": 4}.items()
    put(tmp_path / "test", "ccc")
    with pytest.raises(UserError, match="have to have the same classes; ccc is in one of them"):
        folder.read(tmp_path, "photo")


def test_unreadable_pictures_are_skipped_up_to_a_limit(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    (root / "bb/broken.png").write_bytes(b"no picture")
    pictures = folder.read(root, "photo")
    assert len(pictures.labels) == 15
    assert list(pictures.skipped) == ["bb/broken.png"]
    (message,) = caplog.messages
    assert message.startswith("Skipped 1 of 16 pictures: bb/broken.png: not a picture")
    folder.read(root, "photo")  # from the file of prepared pictures; warns again
    assert caplog.messages == [message, message]
    Image.new("L", (90, 90), 240).save(root / "bb/blank.png")
    with pytest.raises(UserError, match=r"2 of the 17 pictures in .* cannot be used, such as bb/"):
        folder.read(root, "photo")


@pytest.mark.parametrize(("change", "message"), [
    (shutil.rmtree, "is not a folder; it has to have a folder of pictures for each class"),
    (lambda root: [shutil.rmtree(path) for path in root.iterdir()], "has no folders in it; put the pictures of each"),
    (lambda root: [shutil.rmtree(root / name) for name in ("9", "bb")], "has one class, 10 c; there have to be two"),
    (lambda root: (root / "Val").mkdir(), "has the folder Val, which is not a class"),
    (lambda root: [(root / name).mkdir() for name in ("train", "test")], "has the folder test, which is not a class"),
    (lambda root: (root / "train").mkdir(), "has the folder train, which is not a class"),
    (lambda root: (root / "a\x1b[31m").mkdir(), "has a class whose name cannot be printed"),
    (lambda root: (root / "empty").mkdir(), r"empty has no pictures; their names end with \.png, "),
    (lambda root: shutil.copy(root / "9/3.png", root / "bb/x.png"), r"9/3\.png and .*bb/x\.png look the same at 28"),
    (lambda root: [(root / f"class{number}").mkdir() for number in range(260)], "has 263 classes; there can be 256"),
])  # fmt: skip
def test_invalid_folders_of_classes_are_refused(change: Any, message: str, root: Path) -> None:
    change(root)
    with pytest.raises(UserError, match=message):
        folder.read(root, "photo")


def test_pictures_are_split_by_class_and_repeated_to_fill_an_epoch(root: Path) -> None:
    data = MNISTDataModule(DataConfig("folder", str(root), batch_size=50, val_size=0.2, test_size=0.4, split_seed=1))
    data.setup()
    assert data.description.items() >= {"name": "pictures", "train": 7, "val": 2, "test": 6}.items()
    assert len(data.training_set()) >= 2_000  # in an epoch
    parts = [part.members.unique() for part in (data.training_set(), data.validation_set())]
    assert not set(parts[0].tolist()) & set(parts[1].tolist())
    assert data.spec.classes == ("9", "10 c", "bb")
    assert 0 < data.spec.mean < 0.5
    assert len(data.test_set().images) == 6
    second = MNISTDataModule(DataConfig("folder", str(root), batch_size=50, val_size=0.2, test_size=0.4, split_seed=1))
    second.setup()
    assert second.description == data.description
    with pytest.raises(UserError, match=r"data\.val_size=8 takes all training pictures of"):
        MNISTDataModule(DataConfig("folder", str(root), val_size=8, test_size=0.4)).setup()
    few = MNISTDataModule(DataConfig("folder", str(root), val_size=0.01, test_size=0.4))
    few.setup()
    assert few.description["val"] == 1  # any fraction takes at least one picture
    for size in (15, 0.999, 1):
        sized = MNISTDataModule(DataConfig("folder", str(root), test_size=size, val_size=0))
        if size == 1:
            sized.setup()
        else:
            with pytest.raises(UserError, match="leaves none of 15 pictures for one of the parts"):
                sized.setup()


def test_the_file_of_prepared_pictures_describes_its_content(root: Path) -> None:
    folder.read(root, "photo")
    with np.load(root / ".digits-photo.npz", allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
    assert about["how"] == "photo"
    assert about["files"][0][:3] == ["9/0.png", 0, False]

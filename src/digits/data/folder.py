"""A folder of pictures, with a subfolder for each class: prepared once, and kept in a cache file in the folder."""

import functools
import itertools
import json
import logging
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from digits.console import shows_progress, tracked
from digits.errors import UserError
from digits.model.geometry import IMAGE_SIZE
from digits.model.spec import MAX_CLASSES
from digits.preparation import opening, parallel, photo
from digits.runs.files import atomic, changed_at, natural

log = logging.getLogger(__name__)

TRAIN, TEST = "train", "test"
PARTS = (TRAIN, TEST, "val", "valid", "validation")  # folder names that cannot be classes
MAX_SKIPPED = 0.1  # fraction of the pictures; more are an error
NAMED = 5  # skipped pictures that a message names
VERSION = 2  # of the cache file; a change of the preparation needs a new version


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder.

    Attributes:
        classes: The names of the class folders, in natural order: 9 before 10.
        images: (n, 28, 28) uint8.
        labels: (n,) uint8, indices of classes.
        test: (n,) bool, whether each belongs to the folder ``test``; all false without one.
        skipped: The pictures that cannot be used, and why.
    """

    classes: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    test: npt.NDArray[np.bool_]
    skipped: Mapping[str, str]


def read(root: Path, how: str, keep: bool = True) -> Pictures:
    """Read all pictures of a folder, from the cache file of an earlier call if nothing has changed.

    Args:
        root: The folder, with a folder of pictures for each class, or folders ``train`` and ``test`` with such folders.
        how: One of `photo.PREPARATIONS`.
        keep: Whether to keep the prepared pictures in a cache file in the folder.

    Raises:
        UserError: If the folder has no such structure, too many pictures cannot be used, or one is in two classes.
    """
    listing = _list(root, how)
    cache = root / f".digits-{how}.npz"
    pictures = _cached(cache, listing)
    if pictures is None:
        pictures = _prepare(root, listing)
        _check(root, pictures)
        try:
            if keep:
                with atomic(cache) as file:
                    about = np.array(json.dumps({**listing, "skipped": pictures.skipped}))
                    np.savez(file, about=about, images=pictures.images, labels=pictures.labels, test=pictures.test)
        except OSError as error:
            log.info("The prepared pictures are not kept: %s: %s.", cache, error.strerror or error)
    if pictures.skipped:
        more = f"; and {len(pictures.skipped) - NAMED} more" if len(pictures.skipped) > NAMED else ""
        total = len(pictures.skipped) + len(pictures.labels)
        log.warning("Skipped %d of %d pictures: %s%s.", len(pictures.skipped), total, _first(pictures.skipped), more)
    return pictures


def _list(root: Path, how: str) -> dict[str, Any]:
    """List the classes and files of a folder without opening a picture. The list changes if a picture changes."""
    if not root.is_dir():
        raise UserError(f"data.root={root} is not a folder; it has to have a folder of pictures for each class.")
    names = _folders(root)
    divided = set(names) == {TRAIN, TEST}
    parts = [root / TRAIN, root / TEST] if divided else [root]
    if not divided and (strange := [name for name in names if name.lower() in PARTS]):
        raise UserError(
            f"data.root={root} has the folder {strange[0]}, which is not a class: there can be folders of classes, or "
            f"the two folders {TRAIN} and {TEST} and nothing else."
        )
    classes = _folders(parts[0])
    if unprintable := [name for name in classes if not name.isprintable()]:
        raise UserError(f"data.root={root} has a class whose name cannot be printed: {unprintable[0]!r}.")
    if not classes:
        raise UserError(f"data.root={root} has no folders in it; put the pictures of each class into a folder.")
    if len(classes) == 1:
        raise UserError(f"data.root={root} has one class, {classes[0]}; there have to be two or more.")
    if len(classes) > MAX_CLASSES:
        raise UserError(f"data.root={root} has {len(classes)} classes; there can be {MAX_CLASSES}.")
    if (others := _folders(parts[-1])) != classes:
        different = sorted(set(others) ^ set(classes))
        raise UserError(f"{root / TRAIN} and {TEST} have to have the same classes; {different[0]} is in one of them.")
    files = []  # name, index of the class, whether it is in `test`, size, time of change in nanoseconds
    for part in parts:
        for label, name in enumerate(classes):
            found = list(opening.in_folder(part / name))
            if not found:
                raise UserError(f"{part / name} has no pictures; their names end with {', '.join(opening.SUFFIXES)}.")
            for path in map(Path, found):
                size = path.stat().st_size if path.exists() else 0  # a broken link is skipped later
                facts = [label, divided and part.name == TEST, size, changed_at(path)]
                files.append([path.relative_to(root).as_posix(), *facts])
    return {"version": VERSION, "how": how, "classes": classes, "files": files}


def _folders(folder: Path) -> list[str]:
    names = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(names, key=natural)


def _prepare(root: Path, listing: Mapping[str, Any]) -> Pictures:
    facts = {str(root / name): (name, label, test) for name, label, test, *_ in listing["files"]}
    kept: dict[bytes, tuple[str, int, bool]] = {}  # of each different image: name, class, whether in the folder `test`
    skipped = {}
    with parallel.prepare(list(facts), functools.partial(photo.prepare, how=listing["how"])) as batches:
        each = itertools.chain.from_iterable(batches)
        for path, image, error in tracked(each, "Preparing pictures", len(facts), shows_progress(sys.stderr)):
            name, label, test = facts[path]
            if image is None:
                skipped[name] = str(error)
                continue
            first, first_label, first_test = kept.setdefault(image.tobytes(), (name, label, test))
            if first_label != label:
                raise UserError(
                    f"{root / first} and {root / name} look the same at 28×28 pixels, and are in two classes."
                )
            if first != name:
                kept[image.tobytes()] = (first, label, first_test or test)  # an image is never in both parts
                log.info("%s looks the same at 28×28 pixels as %s, which is used.", name, first)
    return Pictures(
        tuple(listing["classes"]),
        np.frombuffer(bytearray().join(kept), dtype=np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE),
        np.array([label for _, label, _ in kept.values()], dtype=np.uint8),
        np.array([test for _, _, test in kept.values()], dtype=bool),
        skipped,
    )


def _check(root: Path, pictures: Pictures) -> None:
    number = len(pictures.skipped)
    total = number + len(pictures.labels)
    if number > MAX_SKIPPED * total:
        raise UserError(
            f"{number} of the {total} pictures in {root} cannot be used, such as {_first(pictures.skipped)}."
        )
    for label, name in enumerate(pictures.classes):
        if not ((pictures.labels == label) & ~pictures.test).any():
            raise UserError(f"no picture of the class {name} in {root} can be used for training.")


def _first(skipped: Mapping[str, str]) -> str:
    """The first pictures that cannot be used, and why."""
    return "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:NAMED])


def _cached(cache: Path, listing: Mapping[str, Any]) -> Pictures | None:
    """The pictures in the cache file; None without it, if it is damaged, or if a picture has changed."""
    try:
        with cache.open("rb") as stream, np.load(stream, allow_pickle=False) as file:  # a zip archive has checksums
            about = json.loads(str(file["about"]))
            skipped = about.pop("skipped")
            arrays = file["images"], file["labels"], file["test"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        return None
    return Pictures(tuple(about["classes"]), *arrays, skipped) if about == listing else None

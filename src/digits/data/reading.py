"""Reads a whole data set into memory, before it is split into training and validation."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from digits.config import SAMPLE, DataConfig
from digits.data import download, folder, sample
from digits.data.sources import SOURCES
from digits.errors import UserError
from digits.model.spec import DIGITS

log = logging.getLogger(__name__)

Array = npt.NDArray[np.uint8]


class Raw(NamedTuple):
    """A data set before it is split.

    Attributes:
        name: ``mnist``, ``mnist-sample-5k``, ``fashion``, ``kmnist``, or the name of a folder.
        images: (n, 28, 28) uint8, for training and validation.
        labels: (n,) uint8, indices of classes.
        test_images: (m, 28, 28) uint8.
        test_labels: (m,) uint8.
        val_size: Images to hold out for validation, or a fraction of them.
        classes: The name of each class.
    """

    name: str
    images: Array
    labels: Array
    test_images: Array
    test_labels: Array
    val_size: float
    classes: tuple[str, ...] = DIGITS


def read(cfg: DataConfig) -> Raw:
    """Read the data set of a configuration.

    Raises:
        UserError: If its files, or the pictures of a folder, cannot be used.
        DownloadError: If files are missing, and no mirror delivers them.
    """
    root = Path(cfg.root)
    if cfg.name == "sample":
        return _read_sample(cfg.val_size)
    if cfg.name == "folder":
        return _read_folder(cfg, root)
    source = SOURCES[cfg.name]
    try:
        found = download.obtain(root, cfg.mirrors, source)
    except download.DownloadError as error:
        if cfg.name != "mnist" or not cfg.offline_fallback:
            instead = ", or train on the sample: data=sample" if cfg.name == "mnist" else ""
            raise download.DownloadError(
                f"{source.title} is not in data.root={root}, and {error}. "
                f"Put the four files there{',' if instead else ' or'} set data.mirrors{instead}"
            ) from error
        log.debug("%s", error)
        raw = _read_sample(min(cfg.val_size, sample.VAL_SIZE))
        log.warning("%s", _sample_warning(len(raw.labels) - number_of(raw.val_size, len(raw.labels)), root))
        return raw
    arrays = [download.parse_idx(found.contents.pop(name)) for name in source.files]  # freed one by one
    return Raw(cfg.name, arrays[0], arrays[1], arrays[2], arrays[3], cfg.val_size, source.classes)


def _read_folder(cfg: DataConfig, root: Path) -> Raw:
    pictures = folder.read(root, cfg.prepare, keep=cfg.mirrors != [])  # data.mirrors=[]: only read
    labels = pictures.labels
    rest, test = np.flatnonzero(~pictures.test), np.flatnonzero(pictures.test)
    if not len(test):
        number = number_of(cfg.test_size, len(rest))
        if not 1 <= number < len(rest):
            raise UserError(f"data.test_size={cfg.test_size} leaves none of {len(rest)} pictures for one of the parts.")
        rest, test = stratified(labels, number, cfg.split_seed)
    if missing := set(range(len(pictures.classes))) - set(labels[rest].tolist()):
        raise UserError(f"data.test_size={cfg.test_size} takes all pictures of {pictures.classes[min(missing)]}.")
    images, name = pictures.images, root.resolve().name
    if name in (*SOURCES, SAMPLE):
        name = f"folder {name}"
    return Raw(name, images[rest], labels[rest], images[test], labels[test], cfg.val_size, pictures.classes)


def number_of(size: float, of: int) -> int:
    """The number of images that a size stands for: the size itself, or a fraction of all images."""
    return size if isinstance(size, int) else max(1, round(size * of))


def stratified(labels: Array, size: int, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Split at random so that every class has the same fraction in both parts.

    Args:
        labels: (n,) uint8, the class of each image.
        size: Number of images in the second part.
        seed: The same seed gives the same split.

    Returns:
        Indices of the first part, (n - size,), and of the second, (size,), each in ascending order.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))  # position of each image in its class, 0 to 1: the smallest go to the second part
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[np.argsort(place, kind="stable")[:size]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _read_sample(val_size: float) -> Raw:
    images, labels = sample.load()
    rest, test = stratified(labels, sample.TEST_SIZE, seed=0)  # the same 500 for every run
    return Raw(SAMPLE, images[rest], labels[rest], images[test], labels[test], val_size)


def _sample_warning(train: int, root: Path) -> str:
    lines = (
        "NOT ALL OF MNIST: its files are not at hand, and no mirror answers.",
        f"This run uses a sample of it: {train:,} digits to train, {sample.TEST_SIZE} to test.",
        "Its results do not compare with those of all of MNIST.",
    )
    box = ["┌" + "─" * 74 + "┐", *(f"│  {line:<72}│" for line in lines), "└" + "─" * 74 + "┘"]
    advice = (
        f"Looked in {root}. Put the four files there, or set MNIST_ROOT to where they are;",
        "data.offline_fallback=false makes this an error.",
    )
    return "\n" + "\n".join(f"  {line}" for line in (*box, *advice)) + "\n"

"""The data sets in MNIST's format: their files, and where torchvision fetches them from."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from digits.model.spec import DIGITS


@dataclass(frozen=True)
class Official:
    """One official file.

    Attributes:
        size: Bytes after decompression.
        sha256: Of the content after decompression.
        md5: Of the compressed file, where no SHA-256 is known; such a file is kept compressed.
    """

    size: int
    sha256: str = ""
    md5: str = ""


@dataclass
class Source:
    """A data set in MNIST's format: two files of images and two of labels.

    Attributes:
        title: Its name in messages.
        torchvision: The name of torchvision's class, and of the folder in which torchvision keeps the files.
        files: The four files.
        classes: The names of the classes.
    """

    title: str
    torchvision: str
    files: dict[str, Official]
    classes: tuple[str, ...] = DIGITS

    def mirrors(self) -> list[str]:
        """The addresses that torchvision fetches it from."""
        from torchvision import datasets  # three seconds to import, so only to fetch

        return list(getattr(datasets, self.torchvision).mirrors)


def default_root(name: str) -> str:
    """The default folder of a data set: MNIST_ROOT or ``data`` for MNIST, a folder below ``data`` for similar sets."""
    if name == "mnist":
        return os.environ.get("MNIST_ROOT") or "data"
    return f"data/{SOURCES[name].torchvision}" if name in SOURCES else "data"


SIZES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}
"""Names and sizes in bytes of the four IDX files, the same in all three data sets."""


def _files(kind: str, checksums: Sequence[str]) -> dict[str, Official]:
    """The official files, with their checksums of one kind: ``sha256`` or ``md5``."""
    pairs = zip(SIZES.items(), checksums, strict=True)
    return {name: Official(size, **{kind: checksum}) for (name, size), checksum in pairs}


MNIST = Source(
    "MNIST",
    "MNIST",
    _files("sha256", [
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ]),
)  # fmt: skip
FASHION = Source(
    "Fashion-MNIST",
    "FashionMNIST",
    _files("sha256", [
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ]),
    ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
)  # fmt: skip
KMNIST = Source(
    "Kuzushiji-MNIST",
    "KMNIST",
    _files("md5", [  # torchvision's: of the compressed files
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ]),
    ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)  # fmt: skip
SOURCES = {"mnist": MNIST, "fashion": FASHION, "kmnist": KMNIST}

"""The LightningDataModule: reads MNIST or the sample, splits it, and serves batches from the device's memory."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from digits.data import download, sample
from digits.data.augmentation import Augmentation
from digits.data.batches import Batch, Batches, Digits, Loader, Parts, move
from digits.errors import UserError

log = logging.getLogger(__name__)

AUGMENTATION = 1  # separates its random numbers from those of dropout
FINGERPRINT_BATCH = 10_000  # images, to limit the memory

Array = npt.NDArray[np.uint8]


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


def fingerprint(parts: Sequence[Digits]) -> str:
    """Hash every pixel and label of the parts, in order, into 16 hexadecimal digits."""
    sha256 = hashlib.sha256()
    for part in parts:
        for members in torch.split(part.members, FINGERPRINT_BATCH):
            sha256.update(part.images[members].numpy().tobytes())
        sha256.update(part.labels[part.members].byte().numpy().tobytes())
    return sha256.hexdigest()[:16]


@dataclass(frozen=True)
class Description:
    """The data of a run; part of its results.

    Attributes:
        name: ``mnist`` or ``mnist-sample-5k``.
        train: Number of training images.
        val: Number of validation images.
        test: Number of test images.
        fingerprint: Hash of every pixel and label of the three parts.
    """

    name: str
    train: int
    val: int
    test: int
    fingerprint: str


class MNISTDataModule(LightningDataModule):
    """MNIST for training, validation and testing.

    Args:
        name: ``mnist``, or ``sample`` for the 5,000 digits that need no download.
        root: Folder of the files; missing ones are downloaded into it.
        batch_size: Images per batch, in each process.
        val_size: Training images held out for validation, with the same fraction of each digit.
        split_seed: Seed of the split.
        mirrors: Addresses to download from; None for those that torchvision lists.
        offline_fallback: Whether to use the sample if no mirror answers.
        augment: Arguments of an `Augmentation` of the training images; None for no augmentation.
        seed: Seed of the order of the training images and of their augmentation.
    """

    def __init__(
        self,
        name: str = "mnist",
        root: str = "data",
        batch_size: int = 200,
        val_size: int = 5_000,
        split_seed: int = 0,
        mirrors: Sequence[str] | None = None,
        offline_fallback: bool = True,
        augment: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # an evaluation finds the data with them
        self.name = name
        self.root = Path(root)
        self.batch_size = batch_size
        self.val_size = val_size
        self.split_seed = split_seed
        self.mirrors = mirrors
        self.offline_fallback = offline_fallback
        self.augmentation = Augmentation(**augment) if augment else None
        self.seed = seed
        self._parts: Parts | None = None
        self._description: Description | None = None

    @property
    def description(self) -> Description:
        """Name, sizes and fingerprint of the data; after ``setup``."""
        assert self._description is not None, "call setup() first"
        return self._description

    def prepare_data(self) -> None:
        """Find or download the files, in one process of each machine; raises what `download.obtain` raises."""
        self._load()

    def setup(self, stage: str | None = None) -> None:
        """Read and split the data, in every process."""
        self._load()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches of images, (batch, 28, 28) uint8, and labels, (batch,) int64; each process has its own."""
        loader = self._loader(0, shuffle=True)
        batches = loader.sampler
        if (world := batches.world) > 1:
            again = batches.repeated
            log.info(
                "%d processes with batches of %d: %d images a step%s.",
                world,
                self.batch_size,
                world * self.batch_size,
                f"; {again} of {len(batches.part):,} come twice an epoch, for equal shares" if again else "",
            )
        return loader

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Validation batches in a fixed order; an empty list, which Lightning skips, if ``val_size`` is 0.

        Each process has all of them: equal parts would count some images twice.
        """
        return self._loader(1) if len(self._load()[1]) else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches in a fixed order."""
        return self._loader(2)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment the images in training, on the device."""
        images, labels = batch
        if self.augmentation and self.trainer and self.trainer.training:
            strength = self.augmentation.strength(self.trainer.current_epoch, self.trainer.max_epochs or 1)
            images = self.augmentation(images, self._generator(self.trainer, images.device), strength)
        return images, labels

    def _generator(self, trainer: Trainer, device: torch.device) -> torch.Generator:
        """Random numbers of the next batch: a function of seed, epoch, batch and process."""
        batch = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, batch, trainer.global_rank, AUGMENTATION])
        return torch.Generator(device).manual_seed(int(sequence.generate_state(1)[0]))

    def training_set(self) -> Digits:
        """The training images and labels, without augmentation."""
        return self._load()[0]

    def validation_set(self) -> Digits:
        """The validation images and labels."""
        return self._load()[1]

    def test_set(self) -> Digits:
        """The test images and labels, in the order of `test_dataloader`."""
        return self._load()[2]

    def state_dict(self) -> dict[str, Any]:
        """The description of the data, for a checkpoint."""
        return asdict(self.description)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to resume a training on other images.

        Raises:
            UserError: If the checkpoint was trained on data with another fingerprint.
        """
        before, now = state_dict["fingerprint"], self.description.fingerprint
        if before != now:
            raise UserError(
                f"the data have changed since this run began: {self.description.name} with fingerprint {now} now, "
                f"{before} then. Set data.root to the original files, or start a new run in another hydra.run.dir."
            )

    def _loader(self, number: int, shuffle: bool = False) -> "Loader":
        """Batches of the training, validation or test images, from the memory of the device."""
        world, rank, device = 1, 0, torch.device("cpu")
        if self.trainer:
            device = self.trainer.strategy.root_device
            if shuffle:
                world, rank = self.trainer.world_size, self.trainer.global_rank
        self._parts = move(self._load(), device)
        part = self._parts[number]
        return Loader(part, Batches(part, self.batch_size, world, rank, shuffle, self.seed))

    def _load(self) -> Parts:
        """The training, validation and test images; read once per process."""
        if self._parts is None:
            raw = self._read()
            if raw.val_size >= len(raw.labels):
                raise UserError(f"data.val_size={raw.val_size} leaves nothing of {len(raw.labels)} images to train on.")
            train, val = map(torch.from_numpy, stratified(raw.labels, raw.val_size, self.split_seed))
            images, labels = torch.from_numpy(raw.images), torch.from_numpy(raw.labels).long()
            test_images, test_labels = torch.from_numpy(raw.test_images), torch.from_numpy(raw.test_labels).long()
            test = Digits(test_images, test_labels, torch.arange(len(test_labels)))
            self._parts = (Digits(images, labels, train), Digits(images, labels, val), test)
            self._description = Description(raw.name, len(train), len(val), len(test), fingerprint(self._parts))
        return self._parts

    def _read(self) -> "_Raw":
        if self.name == "sample":
            return _read_sample(self.val_size)
        try:
            found = download.obtain(self.root, self.mirrors)
        except download.DownloadError as error:
            if not self.offline_fallback:
                raise download.DownloadError(
                    f"MNIST is not in data.root={self.root}, and {error}. "
                    "Put the four files there, set data.mirrors, or train on the sample: data=sample"
                ) from error
            log.debug("%s", error)
            raw = _read_sample(min(self.val_size, sample.VAL_SIZE))
            log.warning("%s", _sample_warning(len(raw.labels) - raw.val_size, self.root))
            return raw
        arrays = [download.parse_idx(found.contents.pop(name)) for name in download.OFFICIAL]  # freed one by one
        return _Raw("mnist", arrays[0], arrays[1], arrays[2], arrays[3], self.val_size)


class _Raw(NamedTuple):
    """A data set before it is split: images (n, 28, 28) uint8, labels (n,) uint8."""

    name: str
    images: Array
    labels: Array
    test_images: Array
    test_labels: Array
    val_size: int


def _read_sample(val_size: int) -> _Raw:
    images, labels = sample.load()
    rest, test = stratified(labels, sample.TEST_SIZE, seed=0)  # the same 500 for every run
    return _Raw("mnist-sample-5k", images[rest], labels[rest], images[test], labels[test], val_size)


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

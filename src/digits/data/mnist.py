"""The LightningDataModule: reads a data set, splits it, and serves batches from the device's memory."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from digits.config import DataConfig
from digits.data.augmentation import Augmentation
from digits.data.batches import Batch, Batches, Digits, HeldOut, Loader, Parts, move
from digits.data.reading import Array, Raw, number_of, read, stratified
from digits.errors import UserError
from digits.model.spec import DataSpec
from digits.runs.results import Dataset

log = logging.getLogger(__name__)

AUGMENTATION = 1  # separates its random numbers from those of dropout
FINGERPRINT_BATCH = 10_000  # images, to limit the memory
MIN_EPOCH = 2_000  # images; the pictures of a small folder are repeated to reach this number


def fingerprint(parts: Sequence[Digits]) -> str:
    """Hash every pixel and label of the parts, in order, into 16 hexadecimal digits."""
    sha256 = hashlib.sha256()
    for part in parts:
        for members in torch.split(part.members, FINGERPRINT_BATCH):
            sha256.update(part.images[members].numpy().tobytes())
        sha256.update(part.labels[part.members].byte().numpy().tobytes())
    return sha256.hexdigest()[:16]


class MNISTDataModule(LightningDataModule):
    """MNIST, or a data set in its form, for training, validation and testing.

    Args:
        name: ``mnist``; ``sample`` for the 5,000 digits that need no download; ``fashion``, ``kmnist`` or ``folder``.
        root: Folder of the files; missing ones are downloaded into it. For ``folder``: of the pictures.
        batch_size: Images per batch, in each process.
        val_size: Training images held out for validation, with the same fraction of each class; or a fraction of them.
        test_size: Of ``folder``: pictures held out for the test, or a fraction, unless there is a folder ``test``.
        split_seed: Seed of the split.
        mirrors: Addresses to download from; None for those that torchvision lists.
        offline_fallback: Whether to use the sample of MNIST if no mirror answers.
        prepare: How a picture becomes an image, one of `digits.preparation.photo.PREPARATIONS`.
        augment: Arguments of an `Augmentation` of the training images; None for no augmentation.
        seed: Seed of the order of the training images and of their augmentation.
    """

    def __init__(
        self,
        name: str = "mnist",
        root: str = "data",
        batch_size: int = 200,
        val_size: float = 5_000,
        test_size: float = 0.2,
        split_seed: int = 0,
        mirrors: list[str] | None = None,
        offline_fallback: bool = True,
        prepare: str = "photo",
        augment: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # an evaluation finds the data with them
        self.name = name
        self.root = Path(root)
        self.batch_size = batch_size
        self._source = DataConfig(
            name, root, batch_size, val_size, test_size, split_seed, mirrors, offline_fallback, prepare
        )
        self.augmentation = Augmentation(**augment) if augment else None
        self.seed = seed
        self._parts: Parts | None = None
        self._description: Dataset | None = None
        self._spec = DataSpec(prepare=prepare)  # of MNIST and its sample, before they are read

    @property
    def description(self) -> Dataset:
        """Name, sizes and fingerprint of the data; after ``setup``."""
        assert self._description is not None, "call setup() first"
        return self._description

    @property
    def spec(self) -> DataSpec:
        """The classes and the pixels, for the network; reads the data unless it is MNIST."""
        if self.name not in ("mnist", "sample"):
            self._load()
        return self._spec

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
            repeated = batches.repeated
            log.info(
                "%d processes with batches of %d: %d images a step%s.",
                world,
                self.batch_size,
                world * self.batch_size,
                f"; {repeated} of {len(batches.part):,} are used twice per epoch, so that each process has equally many"
                if repeated
                else "",
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

    def held_out(self) -> HeldOut:
        """The test set, with the names of the data set and of its classes."""
        return HeldOut(self.description["name"], self.spec.classes, self.test_set())

    def state_dict(self) -> dict[str, Any]:
        """The description of the data, for a checkpoint."""
        return dict(self.description)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to resume a training on other images.

        Raises:
            UserError: If the checkpoint was trained on data with another fingerprint.
        """
        before, now = state_dict["fingerprint"], self.description["fingerprint"]
        if before != now:
            raise UserError(
                f"the data have changed since this run began: {self.description['name']} with fingerprint {now} now, "
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
            raw = read(self._source)
            parts = split(raw, self._source.split_seed)
            train, val, test = map(len, parts)
            self._description = Dataset(name=raw.name, train=train, val=val, test=test, fingerprint=fingerprint(parts))
            if self.name not in ("mnist", "sample"):
                self._spec = DataSpec(raw.classes, *_statistics(raw.images), self._source.prepare)
            self._parts = self._repeated(parts) if self.name == "folder" else parts
        return self._parts

    def _repeated(self, parts: Parts) -> Parts:
        """Repeat the training pictures of a small folder, so that an epoch has enough of them."""
        train, val, test = parts
        lost = set(range(len(self._spec.classes))) - set(train.labels[train.members].tolist())
        if lost:
            raise UserError(
                f"data.val_size={self._source.val_size} takes all training pictures of {self._spec.classes[min(lost)]}."
            )
        if (repeats := -(-MIN_EPOCH // len(train))) > 1:
            log.info("An epoch takes each of the %d training pictures %d times.", len(train), repeats)
        return Digits(train.images, train.labels, train.members.repeat(repeats)), val, test


def split(raw: Raw, seed: int) -> Parts:
    """Split a data set into training, validation and test images.

    Raises:
        UserError: If no images are left to train on.
    """
    val_size = number_of(raw.val_size, len(raw.labels))
    if val_size >= len(raw.labels):
        raise UserError(f"data.val_size={raw.val_size} leaves nothing of {len(raw.labels)} images to train on.")
    train, val = map(torch.from_numpy, stratified(raw.labels, val_size, seed))
    images, labels = torch.from_numpy(raw.images), torch.from_numpy(raw.labels).long()
    test_images, test_labels = torch.from_numpy(raw.test_images), torch.from_numpy(raw.test_labels).long()
    test = Digits(test_images, test_labels, torch.arange(len(test_labels)))
    return Digits(images, labels, train), Digits(images, labels, val), test


def _statistics(images: Array) -> tuple[float, float]:
    """Mean and standard deviation of all pixels, scaled to 0 to 1, rounded to four digits as for MNIST."""
    counts = np.bincount(images.ravel(), minlength=256) / images.size
    levels = np.arange(256) / 255
    mean = float(counts @ levels)
    return round(mean, 4), round(max(float(counts @ levels**2) - mean**2, 1e-8) ** 0.5, 4)

"""The LightningDataModule: reads a data set, splits it, and serves batches from the device's memory."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from digits.config import DataConfig
from digits.data.augmentation import Augmentation
from digits.data.batches import Batch, Batches, Digits, HeldOut, Loader, Parts, move
from digits.data.reading import Raw, number_of, read, stratified
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
        cfg: The data set, its split, its batches and its augmentation.
        seed: Seed of the order of the training images and of their augmentation.
    """

    def __init__(self, cfg: DataConfig, seed: int = 0) -> None:
        super().__init__()
        self.save_hyperparameters({**asdict(cfg), "seed": seed})  # an evaluation finds the data with them
        self.cfg = cfg
        self.augmentation = Augmentation(cfg.augment) if cfg.augment else None
        self.seed = seed
        self._parts: Parts | None = None
        self._description: Dataset | None = None
        self._spec = DataSpec(prepare=cfg.prepare)  # of MNIST and its sample, before they are read

    @property
    def description(self) -> Dataset:
        """Name, sizes and fingerprint of the data; after ``setup``."""
        assert self._description is not None, "call setup() first"
        return self._description

    @property
    def spec(self) -> DataSpec:
        """The classes and the pixels, for the network; reads the data unless it is MNIST."""
        if self.cfg.name not in ("mnist", "sample"):
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
        if (world := loader.sampler.world) > 1:
            images = world * self.cfg.batch_size
            log.info("%d processes with batches of %d: %d images a step.", world, self.cfg.batch_size, images)
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

    def _loader(self, number: int, shuffle: bool = False) -> Loader:
        """Batches of the training, validation or test images, from the memory of the device."""
        world, rank, device = 1, 0, torch.device("cpu")
        if self.trainer:
            device = self.trainer.strategy.root_device
            if shuffle:
                world, rank = self.trainer.world_size, self.trainer.global_rank
        self._parts = move(self._load(), device)
        return Loader(Batches(self._parts[number], self.cfg.batch_size, world, rank, shuffle, self.seed))

    def _load(self) -> Parts:
        """The training, validation and test images; read once per process."""
        if self._parts is None:
            raw = read(self.cfg)
            parts = split(raw, self.cfg.split_seed)
            train, val, test = map(len, parts)
            self._description = Dataset(name=raw.name, train=train, val=val, test=test, fingerprint=fingerprint(parts))
            if self.cfg.name not in ("mnist", "sample"):
                mean, deviation = float(raw.images.mean()) / 255, float(raw.images.std()) / 255
                self._spec = DataSpec(raw.classes, round(mean, 4), round(max(deviation, 1e-4), 4), self.cfg.prepare)
            self._parts = self._repeated(parts) if self.cfg.name == "folder" else parts
        return self._parts

    def _repeated(self, parts: Parts) -> Parts:
        """Repeat the training pictures of a small folder, so that an epoch has enough of them."""
        train, val, test = parts
        lost = set(range(len(self._spec.classes))) - set(train.labels[train.members].tolist())
        if lost:
            raise UserError(
                f"data.val_size={self.cfg.val_size} takes all training pictures of {self._spec.classes[min(lost)]}."
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

"""The LightningDataModule: whole batches out of the device's memory, kept as bytes and normalised there."""

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from digits.data import download, sample
from digits.data.augmentation import Augmentation
from digits.errors import UserError

log = logging.getLogger(__name__)

AUGMENTATION = 1  # tells its random numbers from those of dropout
FINGERPRINTED_AT_ONCE = 10_000  # images, so that it takes little memory

Batch = tuple[Tensor, Tensor]
Array = npt.NDArray[np.uint8]


class Digits(Dataset[Batch]):
    """A part of the images and labels in memory, gathered a batch at a time by one indexing call.

    Args:
        images: (n, 28, 28) uint8; the parts of one data set share them.
        labels: (n,) int64.
        members: (m,) int64, which of them belong to this part.
    """

    def __init__(self, images: Tensor, labels: Tensor, members: Tensor) -> None:
        self.images, self.labels, self.members = images, labels, members

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, indices: Tensor) -> Batch:
        """Images (batch, 28, 28) uint8 and labels (batch,) int64 of this part, by their indices, (batch,) int64."""
        chosen = self.members[indices]
        return self.images[chosen], self.labels[chosen]


Parts = tuple[Digits, Digits, Digits]


class Batches(DistributedSampler[Tensor]):
    """Indices of whole batches, (batch,) int64, in an order that is a function of seed and epoch.

    So a resumed run sees what an uninterrupted one sees. It shares the images among processes as a DistributedSampler
    does, and is one, since Lightning would replace any other; but its indices never become Python's numbers, of which
    three million would take more memory than the labels. Its length is a number of batches.

    Args:
        part: What is sampled.
        batch_size: Images a batch, in each process.
        world: Number of processes.
        rank: Which of them this is.
        shuffle: Whether the order is a random one.
        seed: Seed of the order.
    """

    def __init__(
        self, part: Digits, batch_size: int, world: int = 1, rank: int = 0, shuffle: bool = False, seed: int = 0
    ) -> None:
        super().__init__(part, world, rank, shuffle, seed)
        self.part = part
        self.batch_size = batch_size
        self.served = 0  # batches of the epoch so far
        self.skipped = 0  # batches that the next epoch to be begun has behind it already

    def __iter__(self) -> Iterator[Tensor]:
        if self.shuffle:
            order = torch.randperm(len(self.part), generator=torch.Generator().manual_seed(self.seed + self.epoch))
        else:
            order = torch.arange(len(self.part))
        if self.num_replicas > 1:  # the first ones again where the images do not divide among the processes
            order = order[torch.arange(self.rank, self.total_size, self.num_replicas) % len(order)]
        # To the device in one go: moving the indices of each batch would wait for the batch before. A generator, since
        # Lightning sets the epoch after it has made the iterator, and before it asks for the first batch.
        batches = torch.split(order.to(self.part.members.device), self.batch_size)
        self.served, self.skipped = self.skipped, 0
        for batch in batches[self.served :]:
            self.served += 1
            yield batch

    def __len__(self) -> int:
        return math.ceil(self.num_samples / self.batch_size)


class Loader(DataLoader[Batch]):
    """A DataLoader over `Batches` that goes on in the middle of an epoch; Lightning has it record where."""

    sampler: Batches

    def __init__(self, part: Digits, batches: Batches) -> None:
        # A generator of its own, so that starting an epoch draws nothing from the one that dropout uses: Lightning does
        # it at another moment in the epoch that a run resumes at.
        super().__init__(part, None, sampler=batches, collate_fn=_as_gathered, generator=torch.Generator())

    def state_dict(self) -> dict[str, int]:
        """How much of the epoch has been served."""
        return {"batches": self.sampler.served}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on behind it."""
        self.sampler.skipped = state_dict["batches"]


def stratified(labels: Array, size: int, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Split at random so that every class has the same share on both sides.

    Args:
        labels: (n,) class of each image.
        size: Images in the second part.
        seed: The same seed gives the same split.

    Returns:
        Indices of the first part, (n - size,), and of the second, (size,), each in ascending order.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))  # of each image within its class, as a fraction: the smallest go to the second part
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[np.argsort(place, kind="stable")[:size]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def move(parts: Parts, device: torch.device) -> Parts:
    """The parts on a device; what they share is moved once, and shared there too."""
    train, val, test = parts
    images, labels = train.images.to(device), train.labels.to(device)
    return (
        Digits(images, labels, train.members.to(device)),
        Digits(images, labels, val.members.to(device)),
        Digits(test.images.to(device), test.labels.to(device), test.members.to(device)),
    )


def fingerprint(parts: Sequence[Digits]) -> str:
    """16 hexadecimal digits that depend on every pixel and label of the parts, and on their order."""
    sha256 = hashlib.sha256()
    for part in parts:
        for members in torch.split(part.members, FINGERPRINTED_AT_ONCE):
            sha256.update(part.images[members].numpy().tobytes())
        sha256.update(part.labels[part.members].byte().numpy().tobytes())
    return sha256.hexdigest()[:16]


@dataclass(frozen=True)
class Description:
    """Which images a run had; part of its results.

    Attributes:
        name: ``mnist`` or ``mnist-sample-5k``.
        train: Number of training images.
        val: Number of validation images.
        test: Number of test images.
        fingerprint: Of every pixel and label of the three parts.
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
        root: Folder of the files; what is missing is fetched into it.
        batch_size: Images a batch, in each process.
        val_size: Images of the training set kept for validation, in equal shares of each digit.
        split_seed: Seed of that choice.
        mirrors: Addresses to fetch from; None for those that torchvision lists.
        offline_fallback: Whether the sample stands in where no mirror answers.
        augment: Arguments of an `Augmentation` of the training images; None leaves them as they are.
        seed: Seed of the order of the training images, which is a function of it and the epoch, and of augmentation.
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
        self.save_hyperparameters()  # so that an evaluation finds the data again
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
        assert self._description is not None, "setup() comes first"
        return self._description

    def prepare_data(self) -> None:
        """Find or fetch the files, in one process of each machine; raises what `download.obtain` raises."""
        self._load()

    def setup(self, stage: str | None = None) -> None:
        """Load and split, in every process."""
        self._load()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches: images (batch, 28, 28) uint8, labels (batch,) int64; of several processes, each its own."""
        loader = self._loader(0, shuffle=True)
        batches = loader.sampler
        if (world := batches.num_replicas) > 1:
            again = batches.total_size - len(batches.part)
            log.info(
                "%d processes with batches of %d: %d images a step%s.",
                world,
                self.batch_size,
                world * self.batch_size,
                f"; {again} of {len(batches.part):,} come twice an epoch, for equal shares" if again else "",
            )
        return loader

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Validation batches in a fixed order; an empty list, which Lightning skips, where ``val_size`` is 0.

        Each of several processes has all of them: shares of equal size would count some images twice.
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
        """Random numbers for the batch that is next: a function of seed, epoch, batch and process."""
        batch = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, batch, trainer.global_rank, AUGMENTATION])
        return torch.Generator(device).manual_seed(int(sequence.generate_state(1)[0]))

    def training_set(self) -> Digits:
        """The training images and labels, as they are."""
        return self._load()[0]

    def validation_set(self) -> Digits:
        """The validation images and labels."""
        return self._load()[1]

    def test_set(self) -> Digits:
        """The test images and labels, in the order of `test_dataloader`."""
        return self._load()[2]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint says of the data."""
        return asdict(self.description)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to continue a training on other images.

        Raises:
            UserError: If the checkpoint was trained on data with another fingerprint.
        """
        before, now = state_dict["fingerprint"], self.description.fingerprint
        if before != now:
            raise UserError(
                f"the data have changed since this run began: {self.description.name} with fingerprint {now} now, "
                f"{before} then. Set data.root to the files of then, or train anew in another hydra.run.dir."
            )

    def _loader(self, number: int, shuffle: bool = False) -> "Loader":
        """Batches of the training, validation or test images, which lie on the device that computes."""
        world, rank, device = 1, 0, torch.device("cpu")
        if self.trainer:
            device = self.trainer.strategy.root_device
            if shuffle:
                world, rank = self.trainer.world_size, self.trainer.global_rank
        self._parts = move(self._load(), device)
        part = self._parts[number]
        return Loader(part, Batches(part, self.batch_size, world, rank, shuffle, self.seed))

    def _load(self) -> Parts:
        """The training, validation and test images, read once in each process."""
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
    rest, test = stratified(labels, sample.TEST_SIZE, seed=0)  # the same 500 for everybody
    return _Raw("mnist-sample-5k", images[rest], labels[rest], images[test], labels[test], val_size)


def _sample_warning(train: int, root: Path) -> str:
    lines = (
        "NOT ALL OF MNIST: its files are not at hand, and no mirror answers.",
        f"This run uses a sample of it: {train:,} digits to train, {sample.TEST_SIZE} to test.",
        "Its figures do not compare with those of MNIST's 60,000 and 10,000.",
    )
    box = ["┌" + "─" * 74 + "┐", *(f"│  {line:<72}│" for line in lines), "└" + "─" * 74 + "┘"]
    advice = (
        f"Looked in {root}. Put the four files there, or set MNIST_ROOT to where they are;",
        "data.offline_fallback=false makes this an error.",
    )
    return "\n" + "\n".join(f"  {line}" for line in (*box, *advice)) + "\n"


def _as_gathered(batch: Any) -> Any:
    return batch

"""Batches of images in the memory of the device, in an order that depends only on seed and epoch."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Batch = tuple[Tensor, Tensor]


class Digits(Dataset[Batch]):
    """A part of the images and labels in memory; one indexing call gathers a whole batch.

    Args:
        images: (n, 28, 28) uint8, shared by all parts of a data set.
        labels: (n,) int64.
        members: (m,) int64, the indices of the images that belong to this part.
    """

    def __init__(self, images: Tensor, labels: Tensor, members: Tensor) -> None:
        self.images, self.labels, self.members = images, labels, members

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, indices: Tensor) -> Batch:
        """Images, (batch, 28, 28) uint8, and labels, (batch,) int64, by their indices in this part, (batch,) int64."""
        chosen = self.members[indices]
        return self.images[chosen], self.labels[chosen]


class HeldOut(NamedTuple):
    """Images to test on.

    Attributes:
        name: The name of their data set.
        classes: The name of each class.
        digits: The images and labels.
    """

    name: str
    classes: tuple[str, ...]
    digits: Digits


Parts = tuple[Digits, Digits, Digits]
"""Training, validation and test images."""


class Batches(Sampler[Tensor]):
    """Yields the indices of whole batches, (batch,) int64; the order is a function of seed and epoch.

    A resumed run therefore sees the batches of an uninterrupted one. Several processes share the images as with a
    DistributedSampler; here the indices stay in a tensor, because a list of Python numbers takes far more memory.

    Args:
        part: The images to sample.
        batch_size: Images per batch, in each process.
        world: Number of processes.
        rank: Index of this process.
        shuffle: Whether to shuffle in each epoch.
        seed: Seed of the order.

    Attributes:
        served: Number of batches served in this epoch so far.
        skipped: Number of batches to skip when the next epoch starts (set on resume).
    """

    def __init__(
        self, part: Digits, batch_size: int, world: int = 1, rank: int = 0, shuffle: bool = False, seed: int = 0
    ) -> None:
        self.part = part
        self.batch_size = batch_size
        self.world, self.rank = world, rank
        self.shuffle, self.seed = shuffle, seed
        self.epoch = 0
        self.served = 0
        self.skipped = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines the order. Lightning calls this."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        if self.shuffle:
            order = torch.randperm(len(self.part), generator=torch.Generator().manual_seed(self.seed + self.epoch))
        else:
            order = torch.arange(len(self.part))
        if self.world > 1:
            total = math.ceil(len(order) / self.world) * self.world  # some images are used twice
            order = order[torch.arange(self.rank, total, self.world) % len(order)]
        # Move all indices to the device at once: moving those of a batch would wait for the batch before. A generator,
        # because Lightning sets the epoch after it creates the iterator, and before it asks for the first batch.
        batches = torch.split(order.to(self.part.members.device), self.batch_size)
        self.served, self.skipped = self.skipped, 0
        for batch in batches[self.served :]:
            self.served += 1
            yield batch

    def __len__(self) -> int:
        """Number of batches."""
        return math.ceil(math.ceil(len(self.part) / self.world) / self.batch_size)


class Loader(DataLoader[Batch]):
    """A DataLoader over `Batches` that resumes within an epoch; Lightning saves its state."""

    sampler: Batches

    def __init__(self, batches: Batches) -> None:
        # Without a generator of its own, each epoch would draw a random number from the one that dropout uses, and
        # Lightning starts the epoch in which a run resumes at another moment.
        super().__init__(batches.part, None, sampler=batches, collate_fn=_unchanged, generator=torch.Generator())

    def state_dict(self) -> dict[str, int]:
        """Number of batches served in this epoch."""
        return {"batches": self.sampler.served}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue after these batches."""
        self.sampler.skipped = state_dict["batches"]


def move(parts: Parts, device: torch.device) -> Parts:
    """Move the parts to a device. Images that parts share are moved once, and shared there too."""
    train, val, test = parts
    images, labels = train.images.to(device), train.labels.to(device)
    return (
        Digits(images, labels, train.members.to(device)),
        Digits(images, labels, val.members.to(device)),
        Digits(test.images.to(device), test.labels.to(device), test.members.to(device)),
    )


def _unchanged(batch: Any) -> Any:
    return batch

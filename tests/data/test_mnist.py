"""The data module: splits, batches, normalisation, and the sample."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, TensorDataset

from digits.config import AugmentConfig, DataConfig
from digits.data import download as files
from digits.data.batches import Batches, Digits, move
from digits.data.mnist import MNISTDataModule, stratified
from digits.errors import UserError
from digits.model.network import normalise
from digits.model.spec import DataSpec

from ..helpers import digits_like


def module(root: Path, seed: int = 0, **arguments: Any) -> MNISTDataModule:
    data = MNISTDataModule(DataConfig(root=str(root), **{"batch_size": 32, "val_size": 40, **arguments}), seed)
    data.setup()
    return data


def test_an_epoch_has_every_training_image_once(tiny_mnist: Path) -> None:
    data = module(tiny_mnist)
    batches = list(data.train_dataloader())
    assert [len(labels) for _, labels in batches] == [32] * 6 + [8]
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    train = data.train_dataloader().dataset
    members = train.images[train.members]
    assert len(members) == 200
    assert sorted(image.numpy().tobytes() for image in images) == sorted(image.numpy().tobytes() for image in members)


def test_the_parts_share_the_images_in_memory(tiny_mnist: Path) -> None:
    data = module(tiny_mnist)
    train, val = data.train_dataloader().dataset, data.val_dataloader().dataset
    assert train.images.data_ptr() == val.images.data_ptr()
    assert sorted(torch.cat([train.members, val.members]).tolist()) == list(range(240))


def test_images_keep_their_labels(tiny_mnist: Path) -> None:
    data = module(tiny_mnist)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for images, labels in loader:
            rows = images.float().mean(2).argmax(1)  # in the tiny files, the label is written into the image
            brightest = images[torch.arange(len(labels)), 2 * labels + 4].float().mean(1)
            assert (brightest == 200).all(), rows


def test_the_order_is_a_function_of_seed_and_epoch(tiny_mnist: Path) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        loader = module(tiny_mnist, seed=seed).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return torch.cat(list(loader.sampler)).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != sorted(order(0, 0))


def test_only_training_images_are_augmented(tiny_mnist: Path) -> None:
    """Each step and each process draw another augmentation; the same step repeats the same one."""
    data = module(tiny_mnist, augment=AugmentConfig(rotation=20, final=0.0), seed=1)
    progress = SimpleNamespace(current=SimpleNamespace(ready=0))
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    trainer = SimpleNamespace(training=True, current_epoch=0, max_epochs=3, global_rank=0, fit_loop=loop)
    data.trainer = trainer  # type: ignore[assignment]
    images, labels = torch.from_numpy(digits_like(10, 0)[0]), torch.arange(10)

    def transferred(**changes: Any) -> Tensor:
        vars(trainer).update({"training": True, "current_epoch": 0, "global_rank": 0, **changes})
        return data.on_after_batch_transfer((images, labels), 0)[0]

    first = transferred()
    assert first.shape == (10, 28, 28)
    assert not torch.allclose(first, images.float())
    assert torch.equal(transferred(), first)
    assert torch.equal(transferred(training=False), images)
    assert not torch.equal(transferred(current_epoch=1), first)
    assert torch.allclose(transferred(current_epoch=2), images.float(), atol=1)
    assert not torch.equal(transferred(global_rank=1), first)
    progress.current.ready = 1
    assert not torch.equal(transferred(), first)
    progress.current.ready, data.seed = 0, 2
    assert not torch.equal(transferred(), first)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("n", "world"), [(10, 1), (10, 2), (10, 3), (2, 5)])
def test_processes_get_the_same_images_as_from_distributed_sampler(n: int, world: int, shuffle: bool) -> None:
    part = Digits(torch.zeros(n, 28, 28, dtype=torch.uint8), torch.zeros(n, dtype=torch.int64), torch.arange(n))
    for rank in range(world):
        ours = Batches(part, 3, world, rank, shuffle, seed=7)
        theirs = DistributedSampler(TensorDataset(torch.arange(n)), world, rank, shuffle, seed=7)
        for epoch in (0, 1):
            ours.set_epoch(epoch)
            theirs.set_epoch(epoch)
            batches = list(ours)
            assert torch.cat(batches).tolist() == list(theirs)
            assert len(batches) == len(ours)
            assert all(len(batch) == 3 for batch in batches[:-1])


def test_the_images_of_a_step_with_several_processes_are_logged(
    tiny_mnist: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    data = MNISTDataModule(DataConfig(root=str(tiny_mnist), batch_size=8, val_size=40))
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(strategy=strategy, world_size=3, global_rank=0)  # type: ignore[assignment]
    data.train_dataloader()
    assert caplog.messages[-1] == "3 processes with batches of 8: 24 images a step."


def test_batches_lie_on_the_device_that_computes() -> None:
    """The meta device stands in for a GPU: a tensor is on it only if it has been moved to it."""
    meta = torch.device("meta")
    images, labels = torch.zeros(10, 28, 28, dtype=torch.uint8), torch.zeros(10, dtype=torch.int64)
    part = Digits(images, labels, torch.arange(10))
    train, val, test = move((part, part, part), meta)
    assert train.images is val.images  # moved once
    for moved in (train, val, test):
        (indices,) = Batches(moved, batch_size=10)
        assert indices.device == meta
        assert {tensor.device for tensor in moved[indices]} == {meta}


def test_validation_and_test_are_in_a_fixed_order(tiny_mnist: Path) -> None:
    data = module(tiny_mnist)
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert torch.cat(list(loader.sampler)).tolist() == list(range(len(loader.dataset)))
        assert all(torch.equal(a[1], b[1]) for a, b in zip(loader, loader, strict=True))


def test_the_split_is_stratified_seeded_and_without_overlap() -> None:
    labels = np.repeat(np.arange(10), [10, 20, 30, 40, 50, 60, 70, 80, 90, 50]).astype(np.uint8)
    train, val = stratified(labels, 100, seed=3)
    assert len(val) == 100
    assert sorted([*train, *val]) == list(range(500))
    assert np.abs(np.bincount(labels[val]) - np.bincount(labels) / 5).max() <= 1
    assert (val == stratified(labels, 100, seed=3)[1]).all()
    assert (val != stratified(labels, 100, seed=4)[1]).any()
    assert len(stratified(labels, 0, seed=3)[1]) == 0


def test_without_validation_images_there_is_no_validation_loader(tiny_mnist: Path) -> None:
    data = module(tiny_mnist, val_size=0)
    assert data.val_dataloader() == []
    assert data.description["train"] == 240


def test_a_validation_set_as_large_as_the_training_set_is_refused(tiny_mnist: Path) -> None:
    with pytest.raises(UserError, match="data.val_size=240"):
        module(tiny_mnist, val_size=240)


def test_the_default_validation_size_is_too_large_for_the_sample() -> None:
    with pytest.raises(UserError, match="leaves nothing of 4500"):
        MNISTDataModule(DataConfig("sample")).setup()


def test_the_fingerprint_identifies_the_split(tiny_mnist: Path) -> None:
    fingerprint = module(tiny_mnist).description["fingerprint"]
    assert module(tiny_mnist).description["fingerprint"] == fingerprint
    assert module(tiny_mnist, val_size=50).description["fingerprint"] != fingerprint
    state = module(tiny_mnist).state_dict()
    module(tiny_mnist).load_state_dict(state)
    with pytest.raises(UserError, match="the data have changed"):
        module(tiny_mnist, split_seed=1).load_state_dict(state)


def test_the_sample_has_the_documented_sizes_and_statistics() -> None:
    data = module(Path("nowhere"), name="sample", val_size=500)
    expected = {"name": "mnist-sample-5k", "train": 4_000, "val": 500, "test": 500}
    assert data.description.items() >= expected.items()
    labels = torch.cat([labels for _, labels in data.test_dataloader()])
    assert labels.bincount().tolist() == [50] * 10
    images = torch.cat([normalise(images, DataSpec()) for images, _ in data.train_dataloader()])
    assert images.mean().item() == pytest.approx(0, abs=0.03)
    assert images.std().item() == pytest.approx(1, abs=0.03)


def test_without_a_mirror_the_sample_replaces_mnist(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = module(tmp_path, mirrors=[], val_size=5000)
    assert data.description["name"] == "mnist-sample-5k"
    assert data.description["val"] == 500
    assert "NOT ALL OF MNIST" in caplog.text
    assert "4,000 digits to train" in caplog.text


def test_without_the_fallback_missing_files_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(files.DownloadError, match="data=sample"):
        module(tmp_path, mirrors=[], offline_fallback=False)


def test_a_damaged_file_is_never_replaced_by_the_sample(tiny_mnist: Path) -> None:
    (tiny_mnist / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte.gz is damaged"):
        module(tiny_mnist, mirrors=[])


@pytest.mark.mnist
def test_the_official_split(mnist_root: Path) -> None:
    data = module(mnist_root, val_size=5000)
    expected = {"name": "mnist", "train": 55_000, "val": 5_000, "test": 10_000}
    assert data.description.items() >= expected.items()
    val = torch.cat([labels for _, labels in data.val_dataloader()]).bincount()
    train = torch.cat([labels for _, labels in data.train_dataloader()]).bincount()
    assert ((train + val) / 12 - val).abs().max() <= 1  # each digit has the same fraction in both parts
    images = torch.cat([normalise(images, DataSpec()) for images, _ in data.train_dataloader()])
    assert images.mean().item() == pytest.approx(0, abs=0.002)
    assert images.std().item() == pytest.approx(1, abs=0.002)

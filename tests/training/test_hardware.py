"""Precision, memory format and optimizer kernel that a device determines, also for devices that are not here."""

import os
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch
from lightning import LightningModule, Trainer
from torch._subclasses.fake_tensor import FakeTensorMode

from digits.data.batches import Batches, Digits, move
from digits.data.mnist import MNISTDataModule
from digits.model.classifier import DigitClassifier
from digits.training import hardware
from digits.training.callbacks import SpeedUp
from digits.validation import resolve

from ..helpers import composed, digits_like

# On a machine with a GPU, Lightning warns of each Trainer that these tests build themselves for the CPU.
pytestmark = pytest.mark.filterwarnings("ignore:GPU available but not used")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Hides all GPUs. A test then adds those that it needs."""
    for accelerator in (hardware.CUDAAccelerator, hardware.MPSAccelerator):
        monkeypatch.setattr(accelerator, "is_available", lambda: False)
    return monkeypatch


def chosen(*words: str) -> hardware.ComputeSettings:
    return hardware.choose(resolve(composed(*words)))


@pytest.mark.parametrize("native", [True, False])
def test_the_settings_for_a_cuda_gpu(no_gpu: pytest.MonkeyPatch, native: bool) -> None:
    no_gpu.setattr(hardware.CUDAAccelerator, "is_available", lambda: True)
    no_gpu.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    no_gpu.setattr(torch.cuda, "get_device_name", lambda: "some GPU")
    found = chosen("trainer.accelerator=gpu")
    assert (found.precision, found.memory_format) == ("bf16-mixed" if native else "32-true", "channels_last")
    assert found.optimizer["fused"] is True


def test_a_cuda_gpu_is_not_queried_if_the_precision_is_given(no_gpu: pytest.MonkeyPatch) -> None:
    """A query initialises CUDA, and the process could not be forked afterwards."""
    no_gpu.setattr(hardware.CUDAAccelerator, "is_available", lambda: True)
    for name in ("is_bf16_supported", "get_device_name"):
        no_gpu.setattr(torch.cuda, name, lambda **_: pytest.fail("asked"))
    assert chosen("trainer.precision=32-true").precision == "32-true"


def test_the_settings_for_an_mps_gpu(no_gpu: pytest.MonkeyPatch) -> None:
    no_gpu.setattr(hardware.MPSAccelerator, "is_available", lambda: True)
    found = chosen("trainer.accelerator=auto")
    assert (found.precision, found.memory_format) == ("32-true", "contiguous_format")
    assert chosen("trainer.accelerator=cpu").memory_format == "channels_last"


def test_when_an_optimizer_is_not_fused(no_gpu: pytest.MonkeyPatch) -> None:
    assert "fused" not in chosen("optimizer=rmsprop").optimizer
    assert not chosen("trainer.accelerator=tpu").optimizer["fused"]
    assert chosen("optimizer.fused=false").optimizer["fused"] is False


def test_torchs_slow_gpu_check_is_off_only_without_a_gpu(no_gpu: pytest.MonkeyPatch) -> None:
    no_gpu.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    hardware.speed_up()
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "0"
    no_gpu.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    no_gpu.setattr(hardware.CUDAAccelerator, "is_available", lambda: True)
    hardware.speed_up()
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"


def test_a_training_in_float32_does_not_use_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.set_float32_matmul_precision("high")
    SpeedUp("32-true", compile_network=False).on_train_start(
        Trainer(accelerator="cpu", devices=1, logger=False), LightningModule()
    )
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("words", [["model=article"], ["experiment=accurate"], ["model=mlp", "data/augment=erase"]])
def test_a_step_on_a_gpu_uses_no_tensor_of_another_device(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With fake tensors, which have only a shape and a device: torch refuses to mix devices."""
    cfg = resolve(composed(*words))
    images, labels = (torch.from_numpy(part) for part in digits_like(40, seed=0))
    here = Digits(images, labels.long(), torch.arange(40))
    data = MNISTDataModule(cfg.data)
    data.trainer = SimpleNamespace(training=True, current_epoch=1, max_epochs=3)  # type: ignore[assignment]
    monkeypatch.setattr(data, "_generator", lambda *_: None)  # a missing GPU has no generator
    classifier = DigitClassifier(asdict(cfg.model), asdict(cfg.optimizer))
    gpu = torch.device("cuda", 0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        classifier.to(gpu)
        part, *_ = move((here, here, here), gpu)
        for indices in Batches(part, 16, shuffle=True):
            batch = data.on_after_batch_transfer(part[indices], 0)
            assert batch[0].device == batch[1].device == indices.device == gpu
            assert classifier.training_step(batch, 0)["loss"].device == gpu
        classifier.validation_step(batch, 0)
        for metrics in (classifier.train_metrics, classifier.val_metrics):
            assert metrics["loss"].total.device == gpu

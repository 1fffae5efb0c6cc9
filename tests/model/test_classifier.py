"""The LightningModule: its loss, what its checkpoint holds, and what it refuses to build."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset

from digits.errors import UserError
from digits.model.classifier import DigitClassifier
from digits.validation import resolve

from ..helpers import TINY, composed

pytestmark = [
    # The trainings here have no validation set, and Lightning warns of it.
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    # On a machine with a GPU, Lightning warns of each Trainer that these tests build themselves for the CPU.
    pytest.mark.filterwarnings("ignore:GPU available but not used"),
]

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.01}


def classifier(*overrides: str, **arguments: Any) -> DigitClassifier:
    cfg = resolve(composed(*TINY, "model.head.dropout=0", *overrides))
    scheduler = asdict(cfg.scheduler) if cfg.scheduler else None
    return DigitClassifier(
        **{"model": asdict(cfg.model), "optimizer": asdict(cfg.optimizer), "scheduler": scheduler, **arguments}
    )


def bare_trainer(directory: Path, **arguments: Any) -> Trainer:
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    settings: dict[str, Any] = {**dict.fromkeys(off, False), **arguments}
    return Trainer(accelerator="cpu", default_root_dir=directory, **settings)


def batch(n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 28, 28), generator=generator, dtype=torch.uint8)
    return images, torch.arange(n) % 10


def test_loss_by_hand() -> None:
    module = classifier(label_smoothing=0.2)
    images, labels = batch()
    logits = module(images)
    log_probabilities = logits - logits.exp().sum(1, keepdim=True).log()
    target = torch.full((8, 10), 0.2 / 10)
    target[range(8), labels] += 0.8
    expected = -(target * log_probabilities).sum(1).mean()
    assert module.training_step((images, labels), 0)["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_validation_loss_has_no_label_smoothing() -> None:
    module = classifier(label_smoothing=0.2)
    images, labels = batch()
    module.validation_step((images, labels), 0)
    assert module.val_metrics["loss"].compute().item() == pytest.approx(
        torch.nn.functional.cross_entropy(module(images), labels).item(), rel=1e-5
    )


def test_validation_computes_in_float32() -> None:
    module = classifier()
    images, labels = batch()
    with torch.autocast("cpu", torch.bfloat16):  # as a training in bf16 calls it
        module.validation_step((images, labels), 0)
        rounded = torch.nn.functional.cross_entropy(module(images).float(), labels)
    exact = torch.nn.functional.cross_entropy(module(images), labels)
    assert module.val_metrics["loss"].compute() == exact != rounded


def test_metrics_of_training_count_every_step(tmp_path: Path) -> None:
    """With batches of different sizes; the learning rate is almost 0, so that the weights stay the same."""
    images, labels = batch(211)
    module = classifier(optimizer={**ADAM, "lr": 1e-12}, scheduler=None, label_smoothing=0.1)
    trainer = bare_trainer(tmp_path, max_epochs=2)
    trainer.fit(module, DataLoader(TensorDataset(images, labels), batch_size=4))  # 52 batches of 4, one of 3
    logits = module.eval()(images)
    loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    assert trainer.callback_metrics["train/accuracy"].item() == pytest.approx(accuracy)


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous_format"])
def test_the_memory_format_applies_to_the_weights_and_keeps_the_outputs(memory_format: str) -> None:
    module = classifier(memory_format=memory_format)
    (weight,) = (parameter for parameter in module.parameters() if parameter.ndim == 4)
    assert weight.is_contiguous(memory_format=getattr(torch, memory_format))
    other = classifier()
    other.load_state_dict(module.state_dict())
    images, _ = batch()
    assert torch.allclose(other(images), module(images), atol=1e-6)


def test_a_resumed_optimizer_state_gets_the_memory_format_of_the_weights(tmp_path: Path) -> None:
    """A fused step pairs state and weights by their position in memory."""
    loader = DataLoader(TensorDataset(*batch(20)), batch_size=20)
    blocks = ["model.blocks=[{channels: 4, padding: 1}, {channels: 4, padding: 1}]"]
    fused = {**ADAM, "fused": True}

    def continued(module: DigitClassifier, name: str) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        bare_trainer(tmp_path, max_epochs=6).fit(module, loader, ckpt_path=tmp_path / name, weights_only=True)
        return {key: value.contiguous() for key, value in module.state_dict().items()}

    trainer = bare_trainer(tmp_path, max_epochs=2)
    torch.manual_seed(0)
    trainer.fit(classifier(*blocks, optimizer=fused, scheduler=None, memory_format="contiguous_format"), loader)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    results = [
        continued(classifier(*blocks, optimizer=fused, scheduler=None, memory_format=memory_format), "half.ckpt")
        for memory_format in ("contiguous_format", "channels_last")
    ]
    assert all(torch.allclose(results[0][key], results[1][key], atol=1e-5) for key in results[0])


def test_metrics_of_unequal_batches_weigh_images_not_batches() -> None:
    module = classifier()
    images, labels = batch(9)
    for part in (slice(0, 8), slice(8, 9)):
        module.validation_step((images[part], labels[part]), 0)
    logits = module(images)
    assert module.val_metrics.compute()["val/loss"].item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5
    )
    assert module.val_metrics.compute()["val/accuracy"].item() == pytest.approx(
        (logits.argmax(1) == labels).float().mean().item()
    )


def test_it_overfits_one_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images, labels = batch(20)
    module = classifier("optimizer.lr=0.01", scheduler=None)
    bare_trainer(tmp_path, max_epochs=60).fit(module, DataLoader(TensorDataset(images, labels), batch_size=20))
    assert (module.eval()(images).argmax(1) == labels).all()


def test_a_checkpoint_loads_alone_and_holds_plain_values(tmp_path: Path) -> None:
    module = classifier("scheduler=cosine", label_smoothing=0.1)
    trainer = bare_trainer(tmp_path)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "some.ckpt", weights_only=True)

    content = torch.load(tmp_path / "some.ckpt", weights_only=True)
    assert content["hyper_parameters"]["optimizer"]["lr"] == 0.001
    assert content["hyper_parameters"]["label_smoothing"] == 0.1

    loaded = DigitClassifier.load_from_checkpoint(tmp_path / "some.ckpt", weights_only=True)
    images, _ = batch()
    assert torch.equal(loaded.eval()(images), module.eval()(images))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.optim.optimizer.os.system",
        "torch.optim.lr_scheduler",
        "torch.load",
        "Nothing",
    ],
)
def test_a_target_outside_torchs_optimizers_is_refused(target: str) -> None:
    module = classifier(optimizer={**ADAM, "_target_": target})
    with pytest.raises(UserError, match="not allowed"):
        module.configure_optimizers()


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_every_optimizer_gets_its_settings(name: str) -> None:
    module = classifier(f"optimizer={name}", "optimizer.lr=0.0123", "scheduler=none")
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    for setting, value in module.optimizer.items():
        if setting != "_target_":
            expected = tuple(value) if isinstance(value, list) else value
            assert optimizer.param_groups[0][setting] == expected, setting
    assert optimizer.param_groups[0]["lr"] == 0.0123


@pytest.mark.parametrize(
    ("name", "first", "middle", "last"),
    [
        ("one_cycle", 0.01 / 25, None, 0.01 / 25 / 1e4),
        ("cosine", 0.01, 0.005, 0.0),
        ("step", 0.01, 0.01 * 0.3, 0.01 * 0.3**3),
        ("none", 0.01, 0.01, 0.01),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    name: str, first: float, middle: float | None, last: float, tmp_path: Path
) -> None:
    module = classifier(f"scheduler={name}", "optimizer.lr=0.01", "optimizer=sgd")
    rates: list[float] = []
    step = module.training_step

    def recorded(batch: Any, batch_idx: int) -> Any:
        rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])
        return step(batch, batch_idx)

    module.training_step = recorded
    bare_trainer(tmp_path, max_epochs=10).fit(module, DataLoader(TensorDataset(*batch(20)), batch_size=4))
    assert len(rates) == 50
    assert rates[0] == pytest.approx(first)
    assert rates[-1] == pytest.approx(last, abs=2e-5)
    if middle is not None:
        assert rates[25] == pytest.approx(middle, rel=0.02)
    if name == "one_cycle":
        assert max(rates) == pytest.approx(0.01, rel=0.01)
        assert rates.index(max(rates)) == pytest.approx(0.3 * 50, abs=1)

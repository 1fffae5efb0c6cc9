"""Every file of conf/ composes, points at code that exists, and no key escapes the schema."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from digits import config
from digits.errors import UserError
from digits.help import HELP
from digits.keys import shown

from .helpers import composed

GROUPS = (
    *("data", "data/augment", "model", "optimizer", "scheduler", "averaging"),
    *("trainer", "callbacks", "logger", "experiment"),
)
OPTIONS = [(group, file.stem) for group in GROUPS for file in sorted((config.directory() / group).glob("*.yaml"))]


def targets(node: Any) -> list[str]:
    """Every ``_target_`` of a configuration."""
    if isinstance(node, dict):
        own = [node["_target_"]] if "_target_" in node else []
        return own + list(itertools.chain.from_iterable(map(targets, node.values())))
    return []


def test_the_promised_options_are_there() -> None:
    found = {group: {name for owner, name in OPTIONS if owner == group} for group in GROUPS}
    assert found["model"] == {"article", "compact", "deep", "mlp", "strided", "unpadded"}
    assert found["optimizer"] == {"adam", "adamw", "sgd", "rmsprop"}
    assert found["scheduler"] == {"none", "step", "cosine", "one_cycle"}
    assert found["averaging"] == {"none", "ema", "last_epochs"}
    assert found["trainer"] == {"default", "cpu", "gpu", "ddp"}
    assert found["logger"] == {"csv", "tensorboard", "wandb", "mlflow", "many", "none"}
    assert {"accurate", "article", "compact", "cnn_vs_mlp", "fast", "lr_sweep"} <= found["experiment"]


# Each option once: one of each group at a time, but for groups with options that refuse some of others.
APART = ("callbacks", "experiment")
BY_GROUP = [
    [f"{group}={option}" for owner, option in OPTIONS if owner == group] for group in GROUPS if group not in APART
]
CHOICES = [[word for word in words if word] for words in itertools.zip_longest(*BY_GROUP)]
CHOICES += [[f"{group}={option}"] for group, option in OPTIONS if group in APART]


@pytest.mark.parametrize("words", CHOICES, ids=" ".join)
def test_every_option_composes(words: list[str]) -> None:
    config.check(composed(*words))


def test_every_target_is_a_class() -> None:
    """Most are in torch and Lightning."""
    pytest.importorskip("torch")
    configs = [OmegaConf.to_container(composed(*words), resolve=True) for words in CHOICES]
    found = set(itertools.chain.from_iterable(map(targets, configs)))
    assert len(found) > 10
    for target in found:
        assert get_class(target)


@pytest.mark.parametrize("file", sorted((config.directory() / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_experiment_opens_with_the_command_that_runs_it(file: Path) -> None:
    assert file.read_text().splitlines()[1].endswith(f"experiment={file.stem}")


def test_an_experiment_overrules_the_defaults_and_the_command_line_overrules_it() -> None:
    assert composed("experiment=article").data.val_size == 0
    assert composed("experiment=article").scheduler is None
    assert composed("experiment=article", "data.val_size=100").data.val_size == 100


def test_mnist_root_is_the_default_of_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MNIST_ROOT", raising=False)
    assert composed().data.root == "data"
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    assert composed().data.root == str(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["data.batch_size=0"], "data.batch_size=0 is not allowed: it has to be at least 1"),
        (["data.val_size=60000"], "below 60000"),
        (["data=sample", "data.val_size=4500"], "4500"),
        (["model.head.dropout=1.0"], "at least 0 and below 1"),
        (["model.head.hidden=[10,0]"], "model.head.hidden=[10,0]"),
        (["model.blocks.1.kernel_size=0"], "model.blocks.1.kernel_size=0"),
        (["model.blocks.0.padding=sam"], "Did you mean model.blocks.0.padding=same?"),
        (["optimizer.lr=0"], "above 0"),
        (["optimizer.lr=nan"], "optimizer.lr=nan"),
        (["optimizer.lr=inf"], "optimizer.lr=inf"),
        (["optimizer.betas=[0.9]"], "two numbers"),
        (["optimizer=sgd", "optimizer.momentum=0"], "optimizer.nesterov"),
        (["seed=-1"], "seed=-1"),
        (["trainer.accelerator=gpuu"], "Did you mean trainer.accelerator=gpu?"),
        (["trainer.devices=0"], "trainer.devices=0"),
        (["trainer.devices=some"], "trainer.devices=some"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0"),
        (["optimizer._target_=os.system"], "torch.optim.Adam"),
        (["optimizer._target_=torch.optim.SGD"], "torch.optim.Adam"),
        (["seed=${nope}"], "nope"),
        (["callbacks=early_stopping", "data.val_size=0"], "data.val_size=0"),
        (["averaging=ema", "trainer.precision=bf16-true"], "averaging=none"),
        (["averaging=last_epochs", "trainer.precision=16-true"], "averaging=none"),
        (["averaging=last_epochs", "callbacks=early_stopping"], "callbacks=default"),
        (["model.blocks.0.kernel_size=33"], "model: block 1, conv 33×33"),
    ],
)
def test_values_out_of_range_are_refused(overrides: list[str], told: str) -> None:
    with pytest.raises(UserError) as error:
        config.check(composed(*overrides))
    assert told in str(error.value)


@pytest.mark.parametrize("strategy", ["auto", "ddp", "ddp_spawn"])
def test_a_multirun_waits_for_no_other_machine(strategy: str) -> None:
    cfg = composed("trainer.num_nodes=2", f"trainer.strategy={strategy}")
    config.check(cfg)
    with pytest.raises(UserError, match=r"trainer\.num_nodes=2 in a multirun would wait for machines"):
        config.check(cfg, multirun=True)


@pytest.mark.parametrize("devices", ["auto", "2", "-1", "[0,1]", "'0,1'"])
def test_devices_as_lightning_takes_them(devices: str) -> None:
    config.check(composed(f"trainer.devices={devices}"))


def test_the_help_names_the_defaults_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MNIST_ROOT", raising=False)
    cfg = composed()
    listed = [line.split()[0] for line in HELP.splitlines() if line.startswith("  ") and "=" in line.split()[0]]
    assert len(listed) == 12
    for word in listed:
        key, _, value = word.partition("=")
        if not key.startswith("hydra."):
            assert shown(OmegaConf.select(cfg, key)) == value, key

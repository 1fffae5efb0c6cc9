"""Every file of conf/ composes, names classes that exist, and has only keys of the schema."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from digits.overrides import config_directory
from digits.validation import resolve

from .helpers import composed

GROUPS = (
    *("data", "data/augment", "model", "optimizer", "scheduler", "averaging"),
    *("trainer", "callbacks", "logger", "experiment"),
)
OPTIONS = [(group, file.stem) for group in GROUPS for file in sorted((config_directory() / group).glob("*.yaml"))]


def targets(node: Any) -> list[str]:
    """Every ``_target_`` of a configuration."""
    if isinstance(node, dict):
        own = [node["_target_"]] if "_target_" in node else []
        return own + list(itertools.chain.from_iterable(map(targets, node.values())))
    return []


def test_groups_have_the_expected_options() -> None:
    found = {group: {name for owner, name in OPTIONS if owner == group} for group in GROUPS}
    assert found["model"] == {"article", "compact", "deep", "mlp", "strided", "unpadded"}
    assert found["optimizer"] == {"adam", "adamw", "sgd", "rmsprop"}
    assert found["scheduler"] == {"none", "step", "cosine", "one_cycle"}
    assert found["averaging"] == {"none", "ema"}
    assert found["trainer"] == {"default", "cpu", "gpu", "ddp"}
    assert found["logger"] == {"csv", "tensorboard", "wandb", "mlflow", "none"}
    assert {"accurate", "article", "compact", "cnn_vs_mlp", "fast", "lr_sweep"} <= found["experiment"]


# Each option once. A command line takes one of each group; options of these groups go alone, as they refuse others.
TRIED_ALONE = ("callbacks", "experiment")
BY_GROUP = [
    [f"{group}={option}" for owner, option in OPTIONS if owner == group] for group in GROUPS if group not in TRIED_ALONE
]
CHOICES = [[word for word in words if word] for words in itertools.zip_longest(*BY_GROUP)]
CHOICES += [[f"{group}={option}"] for group, option in OPTIONS if group in TRIED_ALONE]


@pytest.mark.parametrize("words", CHOICES, ids=" ".join)
def test_every_option_composes(words: list[str]) -> None:
    own = ["data.root=pictures"] if "data=folder" in words else []
    resolve(composed(*words, *own))


def test_every_target_is_a_class() -> None:
    """Most of the classes are in torch and Lightning."""
    pytest.importorskip("torch")
    configs = [OmegaConf.to_container(composed(*words), resolve=True) for words in CHOICES]
    found = set(itertools.chain.from_iterable(map(targets, configs)))
    assert len(found) > 10
    for target in found:
        assert get_class(target)


@pytest.mark.parametrize("file", sorted((config_directory() / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_experiment_opens_with_the_command_that_runs_it(file: Path) -> None:
    assert file.read_text().splitlines()[1].endswith(f"experiment={file.stem}")


def test_experiments_override_defaults_and_the_command_line_overrides_both() -> None:
    assert composed("experiment=article").data.val_size == 0
    assert composed("experiment=article").scheduler is None
    assert composed("experiment=article", "data.val_size=100").data.val_size == 100


def test_mnist_root_is_the_default_of_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MNIST_ROOT", raising=False)
    assert composed().data.root == "data"
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    assert composed().data.root == str(tmp_path)

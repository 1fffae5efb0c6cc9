"""Trainings that start from the weights of another run."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from digits.cli import train as command
from digits.errors import UserError
from digits.model.network import Network
from digits.model.spec import DataSpec
from digits.runs.run import Run
from digits.runs.start_from import checksum, pin, siblings
from digits.training.start_weights import load_weights
from digits.training.train import train
from digits.validation import resolve

from ..helpers import TINY, TRAIN, call_main, composed, results_of, same, weights


@pytest.fixture
def source(tiny: Callable[..., DictConfig], tmp_path: Path) -> Path:
    train(tiny("seed=5"), tmp_path / "outputs/source")
    return tmp_path / "outputs/source"


def test_frozen_blocks_keep_their_start_weights(tiny: Callable[..., DictConfig], source: Path, tmp_path: Path) -> None:
    words = [f"start_from={source}", "freeze=blocks"]
    results = train(tiny(*words), tmp_path / "next")
    before, after = weights(source, "best"), weights(tmp_path / "next")
    assert same(*({k: v for k, v in each.items() if k.startswith("network.blocks")} for each in (before, after)))
    assert not torch.equal(before["network.head.classes.weight"], after["network.head.classes.weight"])
    best = source / "checkpoints/best.ckpt"
    assert results.start_from == {"checkpoint": str(best), "sha256": checksum(best)}
    assert results_of(tmp_path / "next")["start_from"]["checkpoint"] == str(best)
    config = Run(tmp_path / "next").read_config()
    assert config
    assert (config["start_from"], config["start_sha256"]) == (str(best), checksum(best))


@pytest.mark.slow
def test_without_freezing_all_layers_learn(tiny: Callable[..., DictConfig], source: Path, tmp_path: Path) -> None:
    train(tiny(f"start_from={source}", "optimizer.lr=1e-9"), tmp_path / "near")
    for name, value in weights(source, "best").items():
        if value.is_floating_point() and not name.startswith("train_metrics"):
            assert torch.allclose(value, weights(tmp_path / "near")[name], atol=1e-5), name
    train(tiny(f"start_from={source}"), tmp_path / "far")
    conv = "network.blocks.0.conv.weight"
    assert not torch.equal(weights(source, "best")[conv], weights(tmp_path / "far")[conv])


@pytest.mark.slow
def test_latest_is_resolved_once_per_run(
    tiny_mnist: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Afterwards the new run is the latest one; the same command still means the run that it started from."""
    monkeypatch.chdir(tmp_path)
    words = [TRAIN, *TINY, "start_from=latest", "hydra.run.dir=outputs/next"]
    assert call_main(command.main, words) == 0
    best = str(source / "checkpoints/best.ckpt")
    assert results_of(tmp_path / "outputs/next")["start_from"]["checkpoint"] == best
    capsys.readouterr()
    shutil.rmtree(source)  # a finished run does not need it
    assert call_main(command.main, words) == 0
    assert "Finished before" in capsys.readouterr().out
    words[-1] = "hydra.run.dir=outputs/third"
    assert call_main(command.main, words) == 0
    assert results_of(tmp_path / "outputs/third")["start_from"]["checkpoint"].endswith("next/checkpoints/best.ckpt")


@pytest.mark.slow
def test_all_jobs_of_a_sweep_start_from_the_same_checkpoint(
    tiny_mnist: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["-m", *TINY, "start_from=latest", "seed=0,1", "hydra.sweep.dir=multirun/two"]
    assert call_main(command.main, [TRAIN, *words]) == 0
    starts = [results_of(tmp_path / f"multirun/two/{number}")["start_from"]["checkpoint"] for number in (0, 1)]
    assert starts == [str(source / "checkpoints/best.ckpt")] * 2


def test_a_job_starts_from_the_checkpoint_of_its_siblings(source: Path, tmp_path: Path) -> None:
    cfg = resolve(composed(*TINY, f"start_from={source}"))
    pin(cfg, Run(tmp_path / "sweep/0"))
    (tmp_path / "sweep/0").mkdir(parents=True)
    Run(tmp_path / "sweep/0").write_config(cfg)
    latest = resolve(composed(*TINY, "start_from=latest"))
    run = Run(tmp_path / "sweep/1")
    typed = tmp_path / "sweep/0/.hydra/overrides.yaml"
    typed.parent.mkdir()
    typed.write_text(f"- start_from={source}\n")  # this job names a checkpoint, not latest
    assert not siblings(run)
    typed.write_text("- start_from=latest\n")
    (tmp_path / "sweep/2").mkdir()
    (tmp_path / "sweep/2/config.yaml").write_text("{")  # a damaged file is skipped
    pin(latest, run, siblings(run)[::-1])
    assert (latest.start_from, latest.start_sha256) == (cfg.start_from, cfg.start_sha256)


def network(words: list[str], data: DataSpec | None = None) -> Network:
    model = resolve(composed(*TINY, *words)).model
    return Network(model.blocks, model.head, data)


def test_a_last_layer_for_other_classes_starts_fresh(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cfg = resolve(composed(*TINY, f"start_from={source}"))
    pin(cfg, Run(source / "none"))
    for classes in (("a", "b", "c"), tuple("abcdefghij")):
        fresh = network([], DataSpec(classes))
        before = fresh.head.classes.weight.clone()
        load_weights(fresh, cfg)
        assert torch.equal(fresh.head.classes.weight, before)
        assert torch.equal(fresh.blocks[0].conv.weight, weights(source, "best")["network.blocks.0.conv.weight"])
        assert caplog.messages[-1].endswith("2 of 3 layers are copied; head.classes starts fresh.")


def test_unsuitable_checkpoints_are_refused(source: Path, tmp_path: Path) -> None:
    cfg = resolve(composed(*TINY, f"start_from={source}", "freeze=blocks"))
    pin(cfg, Run(tmp_path / "none"))
    other = "model.blocks=[{channels: 9, kernel_size: 3, padding: 1}]"
    with pytest.raises(UserError, match="freeze=blocks would keep random weights: blocks.0.conv is not in start_from"):
        load_weights(network([other, "model.head.hidden=[8]"]), cfg)
    cfg.freeze = None
    with pytest.raises(UserError, match="no layer of its network fits; choose the model that it has"):
        load_weights(network([other, "model.head.hidden=[7]"], DataSpec(("a", "b"))), cfg)
    Path(str(cfg.start_from)).write_bytes(b"another")
    with pytest.raises(UserError, match=r"best\.ckpt has changed or was deleted since this run began"):
        load_weights(network([]), cfg)
    Path(str(cfg.start_from)).unlink()
    with pytest.raises(UserError, match="has changed or was deleted since this run began"):
        load_weights(network([]), cfg)
    with pytest.raises(UserError, match="there is no run directory or checkpoint"):
        pin(resolve(composed(*TINY, f"start_from={tmp_path}/nowhere")), Run(tmp_path))


@pytest.mark.parametrize(("words", "message"), [
    (["freeze=blocks"], "name it with start_from=RUN"),
    (["freeze=blocks", "start_from=x", "model=mlp", "model.blocks=[]"], "this model has no blocks"),
    (["freeze=head"], "freeze=head is not allowed"),
    (["data=folder"], "data=folder needs data.root=PICTURES"),
])  # fmt: skip
def test_impossible_overrides_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve(composed(*words))


@pytest.mark.slow
def test_a_run_from_another_source_is_another_run(
    tiny: Callable[..., DictConfig], source: Path, tmp_path: Path
) -> None:
    train(tiny(f"start_from={source}"), tmp_path / "next")
    with pytest.raises(UserError, match="holds a run of another configuration: start_from is"):
        train(tiny(), tmp_path / "next")


@pytest.mark.slow
def test_frozen_blocks_keep_the_statistics_of_their_normalisation(
    tiny: Callable[..., DictConfig], tmp_path: Path
) -> None:
    normalised = "model.blocks=[{channels: 4, kernel_size: 3, padding: 1, normalisation: batch}]"
    train(tiny(normalised), tmp_path / "source")
    train(tiny(normalised, f"start_from={tmp_path}/source", "freeze=blocks"), tmp_path / "next")
    name = "network.blocks.0.norm.running_mean"
    assert torch.equal(weights(tmp_path / "source", "best")[name], weights(tmp_path / "next")[name])


def test_another_folder_of_pictures_is_another_run(tmp_path: Path) -> None:
    cfg = resolve(composed("data=folder", f"data.root={tmp_path}/a"))
    Run(tmp_path).write_config(cfg)
    Run(tmp_path).check(cfg)
    with pytest.raises(UserError, match="data.root is .*a there and .*b here"):
        Run(tmp_path).check(resolve(composed("data=folder", f"data.root={tmp_path}/b")))

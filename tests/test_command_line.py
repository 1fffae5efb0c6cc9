"""Mistakes on the command line: exit code 2 before torch is imported, in a line or two that help."""

from pathlib import Path

import pytest

from digits import command_line
from digits.errors import UserError

from .conftest import run, run_python

WRONG = {
    "optimzer.lr=1": ["there is no key optimzer.lr", "Did you mean optimizer.lr?"],
    "max_epochs=3": ["Did you mean trainer.max_epochs?"],
    "lr=0.1": ["Did you mean optimizer.lr?"],
    "optimizer.momentum=0.9": ["optimizer has the keys", "lr, weight_decay, betas"],
    "trainer.lr=3": ["trainer has the keys accelerator"],
    "model=artcle": ["there is no model=artcle", "article, compact, mlp", "Did you mean model=article?"],
    "optimizer=adagrad": ["adam, adamw, rmsprop, sgd"],
    "experiment=fats": ["there is no experiment=fats"],
    "hydra/launcher=nothing": ["there is no hydra/launcher=nothing", "basic"],
    "optimizer.lr=abc": ["optimizer.lr=abc", "a number above 0 (learning rate)"],
    "optimizer.lr=null": ["optimizer.lr=null", "a number above 0"],
    "optimizer.lr=-1": ["above 0"],
    "data.batch_size=0": ["at least 1"],
    "data.batch_size=1.5": ["a whole number at least 1"],
    "data.offline_fallback=maybe": ["true or false"],
    "model.blocks=3": ["a list"],
    "model.blocks.7.channels=3": ["there is no key model.blocks.7.channels"],
    "callbacks.early_stopping.patience=5": ["is off (null)", "callbacks=early_stopping"],
    "scheduler=none scheduler.pct_start=0.5": ["scheduler is off", "scheduler=one_cycle"],
    "+new=1": ["there is no key new"],
    "+seed=1": ["without the +"],
    "~seed": ["cannot be taken away"],
    "+model=mlp": ["without + and ~"],
    "optimizer.lr=0.1,0.2": ["add -m"],
    "-m optimizer.lr=0.1,oops": ["optimizer.lr=oops"],
    "-m optimizer.lr=0.1,-0.1": ["optimizer.lr=-0.1"],
    "-m model=article,nothing": ["there is no model=nothing"],
    "-m trainer=ddp seed=1,2": ["ddp_spawn"],
    "-m trainer.devices=2 seed=1,2": ["ddp_spawn"],
    "optimizer.lr": ["form key=value"],
    "optimizer.lr=[1": ["cannot be read"],
    "--epochs 3": ["--epochs", "--help"],
    "--resolve": ["--cfg job --resolve"],
    "--config-name nothing": ["nothing"],
    "hydra.run.dri=x": ["hydra.run.dri=x"],
    "model.blocks.1.kernel_size=20 model.blocks.1.padding=0": [
        "block 2, conv 20×20, 32→64",
        "⌊(14 + 2·0 − 1·(20 − 1) − 1) / 1⌋ + 1",
        "spans 20 pixels",
    ],
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_told(words: str) -> None:
    with pytest.raises(UserError) as error:
        command_line.check(words.split())
    for told in WRONG[words]:
        assert told in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 320


RIGHT = [
    "",
    "seed=0",
    "experiment=article",
    "experiment=lr_sweep",
    "-m experiment=lr_sweep optimizer.lr=0.02,0.05",
    "optimizer.lr=0.1,0.2 --multirun",
    "-m optimizer.lr=0.1,0.01 model=article,compact seed=range(3)",
    "model=mlp model.head.hidden=[64]",
    "++seed=3",
    "optimizer=sgd optimizer.momentum=0.8",
    "callbacks=early_stopping callbacks.early_stopping.patience=5",
    "trainer.gradient_clip_val=null trainer.limit_train_batches=5",
    "hydra.run.dir=/tmp/some/where hydra.job.chdir=false",
    "model.blocks=[{channels:8},{channels:16,pool:{kind:none}}]",
    "trainer=ddp trainer.accelerator=cpu trainer.devices=2",
    "-m trainer.strategy=ddp_spawn trainer.devices=2 seed=1,2",
    "--cfg job --resolve",
    "--info",
]


@pytest.mark.parametrize("words", RIGHT)
def test_what_is_right_passes(words: str) -> None:
    command_line.check(words.split())


def test_options_may_stand_anywhere() -> None:
    assert command_line.in_order(["seed=1,2", "-m", "lr=3", "--cfg", "job"]) == [
        "-m",
        "--cfg",
        "job",
        "seed=1,2",
        "lr=3",
    ]


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """An environment in which importing torch, Lightning or torchvision fails."""
    for name in ("torch", "lightning", "torchvision"):
        package = tmp_path / "blocked" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemError('imported too early')")
    return {"PYTHONPATH": str(tmp_path / "blocked")}


@pytest.mark.parametrize("words", ["optimzer.lr=1", "data.batch_size=0", "-m model=article,nothing"])
def test_a_mistake_ends_in_2_before_torch_is_imported(
    words: str, tmp_path: Path, without_torch: dict[str, str]
) -> None:
    done = run(*words.split(), cwd=tmp_path, **without_torch)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]  # nothing was begun


@pytest.mark.parametrize("words", ["optimzer.lr=1", "data.batch_size=0"])
def test_debug_shows_where(words: str, tmp_path: Path, without_torch: dict[str, str]) -> None:
    for done in (
        run(words, "--debug", cwd=tmp_path, **without_torch),
        run(words, cwd=tmp_path, HYDRA_FULL_ERROR="1", **without_torch),
    ):
        assert done.returncode == 2
        assert "Traceback" in done.stderr


def test_help_is_for_people_and_needs_no_torch(tmp_path: Path, without_torch: dict[str, str]) -> None:
    done = run("--help", cwd=tmp_path, **without_torch)
    assert done.returncode == 0
    assert "model        article, compact, mlp" in done.stdout
    assert "base_" not in done.stdout
    installed = run_python("-m", "digits", "train", "--help", cwd=tmp_path, **without_torch)
    assert (installed.returncode, installed.stdout) == (0, done.stdout)


def test_the_whole_configuration_is_shown(tmp_path: Path, without_torch: dict[str, str]) -> None:
    done = run("--cfg", "job", "--resolve", "optimizer.lr=0.0321", cwd=tmp_path, **without_torch)
    assert done.returncode == 0
    assert "lr: 0.0321" in done.stdout
    assert "???" not in done.stdout

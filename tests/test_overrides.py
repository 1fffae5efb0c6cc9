"""The command line: a mistake ends with exit code 2, before torch is imported, with one line that helps."""

import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from digits import checks, overrides
from digits.checks import Check
from digits.cli import train as command
from digits.config import TrainConfig
from digits.errors import UserError, shown
from digits.validation import resolve

from .helpers import ROOT, TRAIN, call_main, composed, run_cold


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[int, list[DictConfig]]]:
    """A function that runs the command in an empty folder, without training.

    It returns the exit code and the configurations of the jobs.
    """
    monkeypatch.chdir(tmp_path)

    def run(words: str) -> tuple[int, list[DictConfig]]:
        jobs: list[DictConfig] = []

        def run_job(cfg: DictConfig) -> float:
            jobs.append(cfg)
            return 0.9

        monkeypatch.setattr(command, "run_job", run_job)
        return call_main(command.main, [TRAIN, *shlex.split(words)]), jobs

    return run


WRONG = {
    "optimzer.lr=1": ["unknown key optimzer.lr", "Did you mean optimizer.lr?"],
    "max_epochs=3": ["Did you mean trainer.max_epochs?"],
    "lr=0.1": ["Did you mean optimizer.lr?"],
    "optimizer.momentum=0.9": ["unknown key optimizer.momentum", "optimizer has the keys", "lr, weight_decay, betas"],
    "trainer.lr=3": ["trainer has the keys accelerator"],
    "model=artcle": ["there is no model=artcle", "article, compact, deep, mlp", "Did you mean model=article?"],
    "optimizer=adagrad": ["adam, adamw, rmsprop, sgd"],
    "experiment=fats": ["there is no experiment=fats"],
    "optimizer.lr=abc": ["optimizer.lr=abc is not allowed", "could not be converted to Float"],
    "optimizer.lr=null": ["optimizer.lr=null is not allowed", "not Optional"],
    "optimizer.lr=-1": ["optimizer.lr=-1.0 is not allowed", "greater than 0 (learning rate)"],
    "data.batch_size=0": ["greater than or equal to 1"],
    "data.batch_size=1.5": ["data.batch_size=1.5 is not allowed", "could not be converted to Integer"],
    "data.offline_fallback=maybe": ["not a valid bool"],
    "model.blocks=3": ["Invalid value assigned: int is not a ListConfig"],
    "model.blocks.7.channels=3": ["model.blocks.7.channels=3 is not allowed"],
    "callbacks.early_stopping.patience=5": ["callbacks.early_stopping is null", "callbacks=early_stopping"],
    "data.augment.rotation=5": ["data.augment is null", "data/augment=affine"],
    "data.augment=affine": ["choose it with a slash, data/augment=affine"],
    "data/augment=afine": ["affine, elastic, erase, none", "Did you mean data/augment=affine?"],
    "averaging.decay=0.9": ["averaging is null", "averaging=ema"],
    "scheduler=none scheduler.pct_start=0.5": ["scheduler is null", "scheduler=one_cycle"],
    "+new=1": ["unknown key new"],
    "+seed=1": ["already at 'seed'", "'++seed=1'"],
    "~nothing": ["unknown key nothing"],
    "+model=mlp": ["Multiple values for model"],
    "optimizer.lr=0.1,0.2": ["optimizer.lr=0.1,0.2 has several values; add -m"],
    "model=article,compact": ["model=article,compact has several values; add -m"],
    "experiment=article,lr_sweep": ["add -m"],
    "optimizer=null": ["OptimizerConfig"],
    "experiment=accurate optimizer=sgd": [
        "experiment/accurate sets optimizer.betas, a key that SGDConfig does not have"
    ],
    "model.blocks.0.padding=1.5": ["model.blocks.0.padding=1.5 is not allowed", "Union[int, str]"],
    "model.head.hidden=[a]": ["could not be converted to Integer (model.head.hidden[0])"],
    "model.blocks.0=3": ["model.blocks.0=3 is not allowed"],
    "model.blocks.0.pool=null": ["model.blocks.0.pool=null is not allowed"],
    "optimizer._target_=os.system": ["'torch.optim.Adam' or 'torch.optim.AdamW'"],
    "seed=${nope}": ["nope"],
    "=0.1": ["has no key"],
    "optimizer.betas=(0.9,0.99)": ["a list is written optimizer.betas=[1,2]"],
    "optimizer.lr=${oc.env:NOPE}": ["NOPE"],
    "optimizer.lr": ["form key=value"],
    "optimizer.lr=[1": ["cannot be parsed"],
    "model.blocks.1.kernel_size=20 model.blocks.1.padding=0": [
        "block 2, conv 20×20, 32→64",
        "⌊(14 + 2·0 − 1·(20 − 1) − 1) / 1⌋ + 1",
        "spans 20 pixels",
    ],
}
"""Wrong overrides, and parts of their messages."""
if not overrides.NEXT_HYDRA:  # with Hydra 1.4, OmegaConf fills in such a node
    WRONG["logger.wandb={project:x}"] = ["logger.wandb is null", "logger=wandb"]


def assert_one_line(message: str, parts: list[str]) -> None:
    for part in parts:
        assert part in message
    assert len(message.splitlines()) == 1
    assert len(message) < 320


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_override_is_refused_in_one_line(words: str) -> None:
    with pytest.raises(UserError) as error:
        resolve(overrides.compose(*words.split()))
    assert_one_line(str(error.value), WRONG[words])


WRONG_COMMANDS = {
    "hydra/launcher=nothing": ["there is no hydra/launcher=nothing", "basic"],
    "-m optimizer.lr=0.1,oops": ["optimizer.lr=oops is not allowed"],
    "-m optimizer.lr=0.1,-0.1": ["optimizer.lr=-0.1 is not allowed"],
    "-m model=article,nothing": ["there is no model=nothing"],
    "-m trainer=ddp seed=1,2": ["ddp_spawn"],
    "-m trainer.devices=2 seed=1,2": ["ddp_spawn"],
    "-m trainer.devices=2,1": ["ddp_spawn"],
    "-m trainer=default,ddp": ["ddp_spawn"],
    "-m optimizer=sgd,adam optimizer.momentum=0.5": ["unknown key optimizer.momentum"],
    "-m model=article,mlp model.blocks.0.channels=8": ["model.blocks"],
    "-m optimizer.lr=interval(0,1)": ["does not support sweep type"],
    "-m model=glob(x*)": ["matches no option"],
    "-m seed=shuffle(1,2,3)": ["random order cannot be resumed"],
    "-m data.batch_size=shuffle(range(50,250,50))": ["random order cannot be resumed"],
    "-m model=shuffle(compact,mlp)": ["random order cannot be resumed"],
    "-m seed=0,1 hydra.sweep.subdir=x": ["the directory of a job is its number"],
    "hydra.run.dir=/dev/null/x": ["/dev/null/x cannot be created"],
    "-m hydra.sweep.dir=/dev/null/x seed=1,2": ["/dev/null/x cannot be created"],
    "hydra.run.dir=": ["hydra.run.dir is empty"],
    "hydra.run.dri=x": ["unknown key hydra.run.dri"],
    "-m --cfg job seed=1,2": ["leave out -m"],
    "--config-dir /nowhere": ["is not a directory"],
    "--epochs 3": ["--epochs", "--help"],
    "--resolve": ["--cfg job --resolve"],
    "--config-name nothing": ["nothing"],
    "--config-path /nowhere": ["'/nowhere'"],
    "seed=1 --config-dir c=x": ["--config-dir c=x is not a directory"],
    "hydra.run.dir=a,b": ["add -m"],
    "-m 'hydra.sweep.dir=s_${seed}' seed=3,4": ["hydra.sweep.dir=s_${seed} depends on the job"],
    "-m 'hydra.sweep.dir=s_${model.head.dropout}' model=article,compact": ["depends on the job"],
    "-m 'hydra.sweep.dir=s_${hydra.runtime.choices.model}' model=article,compact": ["depends on the job"],
    "-m 'hydra.sweep.dir=s_${hydra.job.override_dirname}' seed=3,4": ["depends on the job"],
    "-m 'hydra.sweep.dir=s_${hydra.job.num}' seed=3,4": ["hydra.job.num"],
    "-m 'hydra.sweep.dir=s_${optimizer.lr}' optimizer=adam,sgd optimizer.betas=[0.9,0.99]": ["optimizer.betas"],
    "hydra.run.dir=link/run": ["link is a link to nothing"],
    "'data.root=${hydra:runtime.nothing}'": ["nothing"],
}
"""Wrong command lines, and parts of their messages."""
if not overrides.NEXT_HYDRA:  # as above
    WRONG_COMMANDS["'data.augment={rotation: 10}'"] = ["data.augment is null", "data/augment=affine"]


def mostly_slow(cases: Iterable[str]) -> list[Any]:
    """Mark two of three cases as slow, since each case composes several times; the third is in the everyday suite."""
    return [pytest.param(case, marks=[pytest.mark.slow] if number % 3 else []) for number, case in enumerate(cases)]


@pytest.mark.parametrize("words", mostly_slow(WRONG_COMMANDS))
def test_a_wrong_command_line_starts_and_writes_nothing(words: str, call: Any, tmp_path: Path, capsys: Any) -> None:
    link = tmp_path / "link"
    link.symlink_to("gone")
    code, jobs = call(words)
    link.unlink()
    out, err = capsys.readouterr()
    assert (code, jobs, out) == (2, [], "")
    assert err.startswith("Error: ")
    assert_one_line(err.rstrip("\n"), WRONG_COMMANDS[words])
    assert not list(tmp_path.iterdir())


RIGHT = {
    "": 1,
    "seed=0": 1,
    "experiment=lr_sweep": 4,
    "experiment=article": 1,
    "-m experiment=lr_sweep optimizer.lr=0.02,0.05": 2,
    "-m optimizer.lr=0.1,0.01 model=article,compact seed=range(1)": 4,
    "optimizer.lr=0.1,0.2 --multirun": 2,
    "model=mlp model.head.hidden=[64]": 1,
    "++seed=3": 1,
    "~seed": 1,
    "scheduler=null": 1,
    "~scheduler": 1,
    "data/augment=null": 1,
    "model=null": 1,
    "optimizer=sgd optimizer.momentum=0.8": 1,
    "callbacks=early_stopping callbacks.early_stopping.patience=5": 1,
    "trainer.gradient_clip_val=null trainer.limit_train_batches=5": 1,
    "hydra.run.dir=some/where hydra.job.chdir=false": 1,
    "model.blocks=[{channels:8},{channels:16,pool:{kind:none}}]": 1,
    "trainer=ddp trainer.accelerator=cpu trainer.devices=2": 1,
    "-m trainer.strategy=ddp_spawn trainer.devices=2 seed=1,2": 2,
    "-m optimizer=sgd optimizer.momentum=0.5,0.9 optimizer.nesterov=false": 2,
    "-m model=glob(*p*)": 4,
    "-m trainer.devices=[1] seed=1,2": 2,
    "data.val_size=${data.batch_size}": 1,
    "optimizer.lr=1e-3": 1,
    "'data.root=${hydra:runtime.cwd}/data'": 1,
    "-m 'data.root=${hydra:runtime.cwd}/data' seed=1,2": 2,
    "-m 'hydra.sweep.dir=s_${optimizer.lr}' seed=1,2": 2,
    "seed=1 --config-dir . trainer.max_epochs=2": 1,
}
"""Correct command lines, and how many jobs they run."""


def mark_sweep_as_done(sweep: Any, *args: Any, **kwargs: Any) -> None:
    """Replace the end of a sweep, which would look for the results that these jobs do not write."""
    Check.done = True


@pytest.mark.parametrize("words", mostly_slow(RIGHT))
def test_a_correct_command_line_runs_its_jobs(words: str, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("digits.sweeps.sweep.Sweep.on_multirun_end", mark_sweep_as_done)
    code, jobs = call(words)
    assert (code, len(jobs)) == (0, RIGHT[words])


def test_null_deletes_a_choice(call: Any) -> None:
    """As ``~scheduler`` does."""
    for words in ("scheduler=null", "~scheduler", "scheduler=none"):
        _, (cfg,) = call(words)
        assert cfg.scheduler is None


def test_printing_the_configuration_runs_no_job(call: Any, capsys: Any) -> None:
    assert call("--cfg job --resolve optimizer.lr=0.0321") == (0, [])
    assert "lr: 0.0321" in capsys.readouterr().out


def test_a_run_is_composed_by_hydra_alone_and_checked_once(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"compose": 0, "resolve": 0}

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return function(*args, **kwargs)

        return count

    monkeypatch.setattr("hydra.compose", counted("compose", overrides.hydra.compose))
    monkeypatch.setattr(checks, "resolve", counted("resolve", resolve))
    monkeypatch.setattr(command, "resolve", counted("resolve", resolve))
    trained: list[Any] = []
    monkeypatch.setattr(
        command, "_train", lambda cfg, run, sweeping: trained.append(command._checked(cfg, sweeping)) or 0.9
    )
    run_job = command.run_job
    call("seed=5")
    monkeypatch.setattr(command, "run_job", run_job)
    assert call_main(command.main, [TRAIN, "seed=5"]) == 0
    assert trained[0].seed == 5
    assert counts == {"compose": 0, "resolve": 2}  # one for each of the two calls


@pytest.mark.slow
def test_paths_are_relative_to_the_folder_where_the_command_starts(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where Hydra changes to the directory of the run or of each job; ``~`` is the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MNIST_ROOT", "")  # as if it were not set
    seen: list[TrainConfig] = []

    def run_job(cfg: DictConfig) -> float:
        seen.append(command._checked(cfg, sweeping=HydraConfig.get().mode == RunMode.MULTIRUN))
        return 0.9

    monkeypatch.setattr("digits.sweeps.sweep.Sweep.on_multirun_end", mark_sweep_as_done)
    call("")
    monkeypatch.setattr(command, "run_job", run_job)
    for words, root in (
        (["hydra.job.chdir=true"], "data"),
        (["-m", "seed=0,1", "hydra.job.chdir=true"], "data"),
        (["data.root='~/mnist'", "hydra.run.dir='~/run'"], "home/mnist"),
        (["data.root="], "data"),
        (["-m", "seed=0,1", "hydra.sweep.dir='~/sweep'"], "data"),
    ):
        seen.clear()
        assert call_main(command.main, [TRAIN, *words]) == 0
        assert {each.data.root for each in seen} == {str(tmp_path / root)}
    assert (tmp_path / "home/run").is_dir()
    assert (tmp_path / "home/sweep/1").is_dir()
    assert not (tmp_path / "~").exists()


def test_config_dir_may_start_with_a_tilde(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/own.yaml").write_text("# @package _global_\nseed: 7\n")
    code, (cfg,) = call("--config-dir=~/mine experiment=own")
    assert (code, cfg.seed) == (0, 7)


def test_a_users_own_folder_can_replace_or_extend_conf(call: Any, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(overrides.config_directory(), mine)
    (mine / "experiment/own.yaml").write_text("# @package _global_\nseed: 7\n")
    (mine / "other.yaml").write_text("defaults: [train, _self_]\nseed: 8\n")
    for words, seed in (
        (f"--config-path {mine} experiment=own", 7),
        (f"hydra.searchpath=[file://{mine}] experiment=own", 7),
        (f"--config-dir {mine} --config-name other", 8),
    ):
        code, (cfg,) = call(words)
        assert (code, cfg.seed) == (0, seed), words


def test_options_in_a_users_folder_are_found_and_checked(call: Any, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nseed: 7\n")
    code, (cfg,) = call(f"--config-dir {tmp_path} experiment=mine")
    assert (code, cfg.seed) == (0, 7)
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nsead: 7\n")
    assert call(f"--config-dir {tmp_path} experiment=mine") == (2, [])
    assert "sead" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.alone  # timed
def test_mistakes_and_help_are_answered_within_a_second(tmp_path: Path) -> None:
    def seconds(word: str) -> float:
        started = time.perf_counter()
        run_cold(TRAIN, word, cwd=tmp_path)
        return time.perf_counter() - started

    for word in ("optimzer.lr=1", "--help"):
        assert any(seconds(word) < 0.8 for _ in range(10))  # in one of ten tries, no other process slows it down


def test_options_are_moved_before_overrides() -> None:
    assert overrides.options_first(["seed=1,2", "-m", "lr=3", "--cfg", "job"]) == [
        "-m",
        "--cfg",
        "job",
        "seed=1,2",
        "lr=3",
    ]
    assert overrides.options_first(["seed=1", "--config-dir", "a=b", "-cn", "c=d", "lr=2"]) == [
        "--config-dir",
        "a=b",
        "-cn",
        "c=d",
        "seed=1",
        "lr=2",
    ]


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """An environment in which importing torch, Lightning or torchvision fails."""
    for name in ("torch", "lightning", "torchvision"):
        package = tmp_path / "blocked" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemError('imported too early')")
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "blocked"), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize("words", ["optimzer.lr=1", "data.batch_size=0", "-m model=article,nothing"])
def test_a_mistake_ends_with_code_2_before_torch_is_imported(
    words: str, tmp_path: Path, without_torch: dict[str, str]
) -> None:
    done = run_cold(TRAIN, *words.split(), cwd=tmp_path, **without_torch)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]  # nothing was written


@pytest.mark.parametrize("launcher", ["slurm", "processes"])
def test_a_launcher_without_its_packages_is_refused(
    launcher: str, call: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    repository = ConfigStore.instance().repo["hydra"]["launcher"]
    for name in ("submitit_slurm.yaml", "submitit_local.yaml"):
        monkeypatch.delitem(repository, name)
    assert call(f"-m hydra/launcher={launcher} seed=0,1") == (2, [])
    assert "needs the packages hydra-submitit-launcher and submitit" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("words", ["optimzer.lr=1", "data.batch_size=0"])
def test_debugging_shows_the_traceback(words: str, tmp_path: Path, without_torch: dict[str, str]) -> None:
    for done in (
        run_cold(TRAIN, words, "--debug", cwd=tmp_path, **without_torch),
        run_cold(TRAIN, words, cwd=tmp_path, HYDRA_FULL_ERROR="1", **without_torch),
    ):
        assert done.returncode == 2
        assert "Traceback" in done.stderr


def test_help_is_readable_and_needs_no_torch(tmp_path: Path, without_torch: dict[str, str]) -> None:
    done = run_cold(TRAIN, "--help", cwd=tmp_path, **without_torch)
    assert done.returncode == 0
    assert "model        article, compact, deep, mlp" in done.stdout
    assert "schema" not in done.stdout
    assert max(map(len, done.stdout.replace(TRAIN, "train.py").splitlines())) <= 80
    installed = run_cold("-m", "digits", "train", "--help", cwd=tmp_path, **without_torch)
    assert (installed.returncode, installed.stdout) == (
        0,
        done.stdout.replace(f"python {ROOT / 'train.py'}", "digits train"),
    )


def test_cfg_job_prints_the_whole_configuration(tmp_path: Path, without_torch: dict[str, str]) -> None:
    done = run_cold(TRAIN, "--cfg", "job", "--resolve", "optimizer.lr=0.0321", cwd=tmp_path, **without_torch)
    assert done.returncode == 0
    assert "lr: 0.0321" in done.stdout
    assert "???" not in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_hydras_own_information_has_no_warnings(tmp_path: Path, without_torch: dict[str, str]) -> None:
    """This Hydra must not warn about what the next one changes."""
    for words in (["--info"], ["--cfg", "hydra", "experiment=fast"]):
        done = run_cold(TRAIN, *words, cwd=tmp_path, **without_torch)
        assert (done.returncode, done.stderr) == (0, ""), words


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("optimizer=", {f"optimizer={name}" for name in ("adam", "adamw", "rmsprop", "sgd")}),
        ("data/augment=e", {"data/augment=elastic", "data/augment=erase"}),
        ("model=", {"model=article", "model=compact"}),
        ("trainer.max_ep", {"trainer.max_epochs="}),
    ],
)
def test_tab_completion(typed: str, offered: set[str], tmp_path: Path, without_torch: dict[str, str]) -> None:
    line = {"COMP_LINE": f"python train.py {typed}"}
    done = run_cold(TRAIN, "-sc", "query=bash", cwd=tmp_path, **line, **without_torch)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) >= offered
    assert "base_" not in done.stdout
    assert "schema" not in done.stdout


def test_the_help_shows_the_actual_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MNIST_ROOT", raising=False)
    cfg = composed()
    listed = [
        line.split()[0] for line in command.help_text().splitlines() if line.startswith("  ") and "=" in line.split()[0]
    ]
    assert len(listed) == 13
    for word in listed:
        key, _, value = word.partition("=")
        if not key.startswith("hydra."):
            assert shown(OmegaConf.select(cfg, key)) == value, key

"""Mistakes on the command line: exit code 2 before torch is imported, in a line or two that help."""

import time
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from digits import overrides as command_line
from digits.errors import UserError

from .helpers import ROOT, TRAIN, run_cold

WRONG = {
    "optimzer.lr=1": ["there is no key optimzer.lr", "Did you mean optimizer.lr?"],
    "max_epochs=3": ["Did you mean trainer.max_epochs?"],
    "lr=0.1": ["Did you mean optimizer.lr?"],
    "optimizer.momentum=0.9": ["optimizer has the keys", "lr, weight_decay, betas"],
    "trainer.lr=3": ["trainer has the keys accelerator"],
    "model=artcle": ["there is no model=artcle", "article, compact, deep, mlp", "Did you mean model=article?"],
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
    "data.augment.rotation=5": ["is off (null)", "data/augment=affine or data/augment=elastic"],
    "data.augment=affine": ["choose it with a slash, data/augment=affine"],
    "data/augment=afine": ["affine, elastic, erase, none", "Did you mean data/augment=affine?"],
    "averaging.decay=0.9": ["is off (null)", "averaging=ema or averaging=last_epochs"],
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
    "-m trainer.devices=2,1": ["ddp_spawn"],
    "-m trainer=default,ddp": ["ddp_spawn"],
    "-m optimizer=sgd,adam optimizer.momentum=0.5": ["there is no key optimizer.momentum"],
    "-m model=article,mlp model.blocks.0.channels=8": ["there is no key model.blocks.0.channels"],
    "-m optimizer.lr=interval(0,1)": ["cannot be swept"],
    "-m model=glob(x*)": ["stands for no value of article, compact, deep, mlp"],
    "model=null": ["there is no model=null"],
    "experiment=null": ["there is no experiment=null"],
    "experiment=accurate optimizer=sgd": ["experiment=accurate sets betas, a key that optimizer=sgd does not have"],
    "model.blocks.0.padding=1.5": ["model.blocks.0.padding has to be at least 0 or one of same, valid"],
    "model.head.hidden=[a]": ["model.head.hidden.0 has to be a list"],
    "model.blocks.0=3": ["model.blocks.0"],
    "model.blocks.0.pool=null": ["model.blocks.0.pool"],
    "optimizer._target_=os.system": ["one of torch.optim.Adam, torch.optim.AdamW"],
    "seed=${nope}": ["nope"],
    "hydra.run.dir=/dev/null/x": ["/dev/null/x cannot be made"],
    "-m hydra.sweep.dir=/dev/null/x seed=1,2": ["/dev/null/x cannot be made"],
    "model=article,compact": ["add -m"],
    "experiment=article,lr_sweep": ["add -m"],
    "-m --cfg job seed=1,2": ["leave out -m"],
    "--config-dir /nowhere": ["is no directory"],
    "=0.1": ["has no key"],
    "optimizer.betas=(0.9,0.99)": ["a list is written optimizer.betas=[1,2]"],
    "optimizer.lr=${oc.env:NOPE}": ["NOPE"],
    "hydra.run.dir=": ["hydra.run.dir is empty"],
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
    "hydra.run.dir=some/where hydra.job.chdir=false",
    "model.blocks=[{channels:8},{channels:16,pool:{kind:none}}]",
    "trainer=ddp trainer.accelerator=cpu trainer.devices=2",
    "-m trainer.strategy=ddp_spawn trainer.devices=2 seed=1,2",
    "--cfg job --resolve",
    "--info",
    "-m model=glob(*)",
    "-m optimizer=sgd optimizer.momentum=0,0.9 optimizer.nesterov=false",
    "-m trainer.devices=[1] seed=1,2",
    "data.val_size=${data.batch_size}",
    "optimizer.lr=1e-3",
]


@pytest.mark.parametrize("words", RIGHT)
def test_what_is_right_passes(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a directory that is asked for is made
    command_line.check(words.split())


def test_an_option_of_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nseed: 7\n")
    command_line.check(["--config-dir", str(tmp_path), "experiment=mine"])
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nsead: 7\n")
    with pytest.raises(UserError, match="sead"):
        command_line.check(["--config-dir", str(tmp_path), "experiment=mine"])


@pytest.mark.slow
@pytest.mark.alone  # timed
def test_a_mistake_is_told_within_the_time_that_was_promised(tmp_path: Path) -> None:
    def seconds(word: str) -> float:
        started = time.perf_counter()
        run_cold(TRAIN, word, cwd=tmp_path)
        return time.perf_counter() - started

    for word in ("optimzer.lr=1", "--help"):
        assert any(seconds(word) < 0.8 for _ in range(10))  # when nothing else has the processor


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
    done = run_cold(TRAIN, *words.split(), cwd=tmp_path, **without_torch)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]  # nothing was begun


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["seed=shuffle(1,2,3)"], "in another order each time cannot go on"),
        (["data.batch_size=shuffle(range(50,250,50))"], "in another order each time cannot go on"),
        (["model=shuffle(compact,mlp)"], "in another order each time cannot go on"),
        (["seed=0,1", "hydra.sweep.subdir=x"], "the directory of a job is its number"),
    ],
)
def test_a_sweep_that_could_not_go_on(words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        command_line.check(["-m", *words])


@pytest.mark.parametrize("launcher", ["slurm", "processes"])
def test_a_launcher_that_is_not_installed(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = ConfigStore.instance().repo["hydra"]["launcher"]
    for name in ("submitit_slurm.yaml", "submitit_local.yaml"):
        monkeypatch.delitem(repository, name)
    with pytest.raises(UserError, match=r"needs a package: pip install 'digits\[slurm\]'"):
        command_line.check(["-m", f"hydra/launcher={launcher}", "seed=0,1"])


@pytest.mark.parametrize("words", ["optimzer.lr=1", "data.batch_size=0"])
def test_debug_shows_where(words: str, tmp_path: Path, without_torch: dict[str, str]) -> None:
    for done in (
        run_cold(TRAIN, words, "--debug", cwd=tmp_path, **without_torch),
        run_cold(TRAIN, words, cwd=tmp_path, HYDRA_FULL_ERROR="1", **without_torch),
    ):
        assert done.returncode == 2
        assert "Traceback" in done.stderr


def test_help_is_for_people_and_needs_no_torch(tmp_path: Path, without_torch: dict[str, str]) -> None:
    done = run_cold(TRAIN, "--help", cwd=tmp_path, **without_torch)
    assert done.returncode == 0
    assert "model        article, compact, deep, mlp" in done.stdout
    assert "base_" not in done.stdout
    installed = run_cold("-m", "digits", "train", "--help", cwd=tmp_path, **without_torch)
    assert (installed.returncode, installed.stdout) == (
        0,
        done.stdout.replace(f"python {ROOT / 'train.py'}", "digits train"),
    )


def test_the_whole_configuration_is_shown(tmp_path: Path, without_torch: dict[str, str]) -> None:
    done = run_cold(TRAIN, "--cfg", "job", "--resolve", "optimizer.lr=0.0321", cwd=tmp_path, **without_torch)
    assert done.returncode == 0
    assert "lr: 0.0321" in done.stdout
    assert "???" not in done.stdout
    assert done.stderr == ""


def test_what_hydra_says_of_itself(tmp_path: Path, without_torch: dict[str, str]) -> None:
    """No warning, of this Hydra about what the next one changes."""
    for words in (["--info"], ["--cfg", "hydra", "experiment=fast"]):
        done = run_cold(TRAIN, *words, cwd=tmp_path, **without_torch)
        assert (done.returncode, done.stderr) == (0, ""), words


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("optimizer=", {f"optimizer={name}" for name in ("adam", "adamw", "rmsprop", "sgd")}),
        ("data/augment=e", {"data/augment=elastic", "data/augment=erase"}),
        ("trainer.max_ep", {"trainer.max_epochs="}),
    ],
)
def test_tab_completion(typed: str, offered: set[str], tmp_path: Path, without_torch: dict[str, str]) -> None:
    line = {"COMP_LINE": f"python train.py {typed}"}
    done = run_cold(TRAIN, "-sc", "query=bash", cwd=tmp_path, **line, **without_torch)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) >= offered

"""Two processes on the CPU: the same training, one run directory, written by the first."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.nn.functional import cross_entropy

from digits import checkpoint, command_line, parallel
from digits.config import CheckpointConfig
from digits.data.module import MNISTDataModule
from digits.data.normalisation import normalise
from digits.errors import UserError
from digits.run import Run
from digits.saving import Checkpoints

from .conftest import ROOT, RUN_FILES, run, run_python, wait_for
from .test_main import QUICK
from .test_training import same

TWO = ["trainer.devices=2", "data.batch_size=10", "trainer.max_epochs=1"]
MANY_STEPS = [*QUICK[:-1], "trainer.limit_train_batches=100"]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_two_processes_train_what_one_trains(strategy: str, tmp_path: Path) -> None:
    """Same images in each step, so the same weights but for the order of sums."""
    one = [*QUICK, "model.head.dropout=0", "data.batch_size=20", "trainer.max_epochs=1", "hydra.run.dir=one"]
    assert run(*one, cwd=tmp_path).returncode == 0
    done = run(*QUICK, "model.head.dropout=0", *TWO, f"trainer.strategy={strategy}", "hydra.run.dir=two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "strides" not in done.stderr  # which torch would say of gradients in another memory format than the weights'
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {*RUN_FILES, "train.log"}
    single, double = Run(tmp_path / "one").results(), Run(tmp_path / "two").results()
    assert single is not None
    assert double is not None
    assert double.steps == single.steps == 5
    assert sum(map(sum, double.confusion_matrix)) == 500  # every test image once
    assert double.test_loss == pytest.approx(single.test_loss, abs=1e-4)
    (row,), (double_row,) = (Run(tmp_path / name).read_metrics() for name in ("one", "two"))
    assert double_row["train/loss"] == pytest.approx(row["train/loss"], abs=1e-4)
    assert double_row["train/accuracy"] == pytest.approx(row["train/accuracy"], abs=1e-4)


@pytest.mark.slow
def test_a_sweep_of_two_processes_each(tmp_path: Path) -> None:
    """Told to stop in the middle of a job, it saves, and goes on to the end of one that was not; as ever, it tells."""
    words = ["-m", *QUICK, *TWO, "trainer.strategy=ddp_spawn", "seed=0,1", "trainer.log_every_n_steps=1"]
    whole = run(*words, "hydra.sweep.dir=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count("2 processes with batches of 10: 20 images a step.") == 2
    assert whole.stdout.count("epoch 1/1 |") == 2
    assert whole.stderr == ""
    many = [*words, "trainer.limit_train_batches=1.0", "trainer.max_epochs=200", "hydra.sweep.dir=cut"]
    process = subprocess.Popen(
        [sys.executable, ROOT / "train.py", *many], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    last = Run(tmp_path / "cut/0").last
    wait_for(last, process)
    os.kill(process.pid, signal.SIGTERM)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 143, told
    assert "Saved at step" in told
    assert "To go on:" in told
    assert 0 < torch.load(last, weights_only=True)["global_step"] < 40_000
    varied = run(*words, "seed=0", "trainer.devices=1,2", "hydra.sweep.dir=varied", cwd=tmp_path)
    assert varied.returncode == 0, varied.stderr
    assert [Run(tmp_path / f"varied/{job}").results().steps for job in (0, 1)] == [5, 5]  # type: ignore[union-attr]
    assert varied.stdout.count("2 processes with batches of 10") == 1
    diverging = ["optimizer=sgd", "scheduler=none", "optimizer.lr=1e30", "hydra.sweep.dir=diverged"]
    done = run(*words, *diverging, "hydra/launcher=joblib", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stdout.count("failed: the loss is") >= 2


@pytest.mark.slow
def test_the_installed_command_starts_its_second_process(tmp_path: Path) -> None:
    words = [*QUICK, *TWO, "trainer.strategy=ddp", "hydra.run.dir=here"]
    done = run_python("-m", "digits", "train", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "here").results() is not None


NORMALISED = "model.blocks=[{channels: 4, kernel_size: 3, normalisation: batch}]"


@pytest.mark.slow
@pytest.mark.parametrize("others", [[], [NORMALISED, "averaging=ema", "data/augment=affine"]])
def test_two_processes_cut_off_within_an_epoch_go_on_to_the_same_end(others: list[str], tmp_path: Path) -> None:
    """Killed, told to stop, and interrupted, as a shell does it: Ctrl-C goes to all processes."""
    words = [*MANY_STEPS, *TWO, *others, "trainer.strategy=ddp", "callbacks.checkpoint.every_n_steps=1"]
    assert run(*words, "hydra.run.dir=whole", cwd=tmp_path).returncode == 0
    last = Run(tmp_path / "cut").last
    for number, to_all, expected in (
        (signal.SIGKILL, True, -signal.SIGKILL),
        (signal.SIGTERM, False, 143),
        (signal.SIGINT, True, 130),
    ):
        before = saved_at(last)
        process = subprocess.Popen(
            [sys.executable, ROOT / "train.py", *words, "hydra.run.dir=cut"], cwd=tmp_path, start_new_session=True
        )
        while saved_at(last) == before:
            assert process.poll() is None
            time.sleep(0.002)
        (os.killpg if to_all else os.kill)(process.pid, number)
        assert process.wait(60) == expected
        step = torch.load(last, weights_only=True)["global_step"]
        assert 0 < step < 100
    assert run(*words, "hydra.run.dir=cut", cwd=tmp_path).returncode == 0
    ends = [torch.load(Run(tmp_path / name).last, weights_only=True)["state_dict"] for name in ("whole", "cut")]
    assert same(*ends)
    (row,), (cut_row,) = (Run(tmp_path / name).read_metrics() for name in ("whole", "cut"))
    assert cut_row == pytest.approx(row, abs=1e-6)


@pytest.mark.slow
def test_two_processes_validate_the_average_that_is_saved(tmp_path: Path) -> None:
    """Each process has statistics of its own share of the images; those of the first count."""
    words = [*QUICK, *TWO, NORMALISED, "averaging=ema", "trainer.strategy=ddp", "callbacks.checkpoint.monitor=val/loss"]
    assert run(*words, "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    here = Run(tmp_path / "run")
    config = here.config()
    assert config
    data = MNISTDataModule(**config["data"])
    with torch.inference_mode():
        batches = [
            (checkpoint.network(here.best)(normalise(images)), labels) for images, labels in data.val_dataloader()
        ]
    loss = cross_entropy(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    (row,) = here.read_metrics()
    assert row["val/loss"] == pytest.approx(float(loss), abs=1e-4)


STEPS = ["trainer.precision=32-true", "model.head.dropout=0", "trainer.log_every_n_steps=1", "trainer.max_epochs=1"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def losses(directory: Path) -> list[tuple[float, float]]:
    """Loss and accuracy of each step, as the log has them."""
    lines = re.findall(r"loss of the batch (\S+), accuracy (\S+) %", (directory / "train.log").read_text())
    return [(float(loss), float(accuracy)) for loss, accuracy in lines]


def assert_same_training(one: Path, two: Path) -> None:
    """The log has four digits of a loss; the order of sums is worth less."""
    assert len(losses(one)) == len(losses(two)) == 20
    for (loss, accuracy), (expected, expected_accuracy) in zip(losses(two), losses(one), strict=True):
        assert loss == pytest.approx(expected, abs=2e-4)
        assert accuracy == pytest.approx(expected_accuracy, abs=0.01)
    single, double = Run(one).results(), Run(two).results()
    assert single
    assert double
    assert sum(map(sum, double.confusion_matrix)) == 500  # every test image once
    assert double.steps == single.steps == 20
    assert double.val_loss == pytest.approx(single.val_loss, abs=1e-4)
    (row,), (double_row,) = Run(one).read_metrics(), Run(two).read_metrics()
    assert double_row == pytest.approx(row, abs=1e-4)
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}


@pytest.fixture(scope="module")
def in_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training in one process, of 20 steps."""
    folder = tmp_path_factory.mktemp("in_one")
    words = [*QUICK[:-1], *STEPS, "trainer.limit_train_batches=20", "data.batch_size=20", "hydra.run.dir=one"]
    assert run(*words, cwd=folder).returncode == 0
    return folder / "one"


def together(folder: Path) -> list[str]:
    shared = ["trainer=ddp", "trainer.accelerator=cpu", "data.batch_size=10", "trainer.limit_train_batches=20"]
    return [str(ROOT / "train.py"), *QUICK[:-1], *STEPS, *shared, f"hydra.run.dir={folder}"]


@pytest.mark.slow
def test_torchrun(in_one: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*TORCHRUN, "--nproc-per-node", "2", *together(tmp_path / "two")], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "2 processes with batches of 10: 20 images a step." in done.stdout
    assert done.stdout.count("Test accuracy") == 1
    assert_same_training(in_one, tmp_path / "two")
    words = [word for word in together(tmp_path / "two") if word != "report=false"]
    again = subprocess.run(
        [*TORCHRUN, "--nproc-per-node", "2", *words], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert again.returncode == 0, again.stderr
    assert Run(tmp_path / "two").report_file.exists()  # which was missing


def by_slurm(words: list[str], cwd: Path, port: int) -> list[subprocess.Popen[str]]:
    """Two processes, with the variables that `srun --ntasks=2 --ntasks-per-node=2` sets, and its commands in cwd."""
    slurm = {"JOB_ID": "7", "STEP_ID": "0", "JOB_NAME": "digits", "NTASKS": "2", "NTASKS_PER_NODE": "2", "NNODES": "1"}
    slurm |= {"NODEID": "0", "NODELIST": "127.0.0.1"}
    return [
        subprocess.Popen(
            [sys.executable, *words],
            cwd=cwd,
            env={
                **os.environ,
                **{f"SLURM_{name}": value for name, value in slurm.items()},
                "SLURM_PROCID": str(number),
                "SLURM_LOCALID": str(number),
                "MASTER_PORT": str(port),
                "PATH": f"{cwd}:{os.environ['PATH']}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]


def ended(processes: list[subprocess.Popen[str]]) -> tuple[list[int], list[str]]:
    """The exit codes of processes, and what they told."""
    try:
        told = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], told


@pytest.mark.slow
def test_slurms_processes(in_one: Path, tmp_path: Path) -> None:
    codes, told = ended(by_slurm(together(tmp_path / "two"), tmp_path, 29513))
    assert codes == [0, 0], told
    assert ["Test accuracy" in text for text in told] == [True, False]
    assert_same_training(in_one, tmp_path / "two")


@pytest.mark.slow
def test_a_signal_of_slurm_ahead_of_its_end_has_the_training_submitted_again(tmp_path: Path) -> None:
    """As `--signal=USR1@60` sends one; then, all are killed."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "$@" >> told\n')
    scontrol.chmod(0o755)
    two = Run(tmp_path / "two")
    words = [*together(two.path), "trainer.limit_train_batches=1.0", "trainer.max_epochs=3"]
    processes = by_slurm(words, tmp_path, 29514)
    try:
        wait_for(two.last, processes[0])
        processes[0].send_signal(signal.SIGUSR1)
        time.sleep(0.3)  # on another machine it may be heard later
        processes[1].send_signal(signal.SIGUSR1)
        wait_for(tmp_path / "told", processes[0])
        time.sleep(1)
    finally:
        for process in processes:
            process.kill()
    _, told = ended(processes)
    assert {path.name for path in two.path.iterdir()}.isdisjoint({"hpc_ckpt_1.ckpt", "results.json"})
    saved = re.search(r"Saved at step (\d+)", told[0])
    assert saved
    assert int(saved[1]) < 600
    assert (tmp_path / "told").read_text() == "requeue 7\n"
    codes, told = ended(by_slurm(words, tmp_path, 29514))
    assert codes == [0, 0], told
    assert "Continuing from" in told[0]
    results = two.results()
    assert results
    assert results.steps == 600
    assert {path.name for path in two.path.iterdir()} == {*RUN_FILES, "train.log"}


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("ip"), reason="network namespaces need root and ip"
)
def test_two_machines(in_one: Path, tmp_path: Path) -> None:
    """Two network namespaces with addresses of their own, a cable between them, and a folder that both see."""
    names = [f"digits{os.getpid()}{letter}" for letter in "ab"]
    cable = [f"d{os.getpid()}{letter}" for letter in "ab"]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    processes = []
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cable[0], "type", "veth", "peer", "name", cable[1])
        for number, (name, end) in enumerate(zip(names, cable, strict=True), start=1):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        for number, (name, end) in enumerate(zip(names, cable, strict=True)):
            words = [
                "--nnodes",
                "2",
                "--node-rank",
                str(number),
                "--master-addr",
                "10.77.0.1",
                "--master-port",
                "29511",
            ]
            processes.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", name, *TORCHRUN, *words, *together(tmp_path / "two")],
                    cwd=tmp_path,
                    env={**os.environ, "GLOO_SOCKET_IFNAME": end},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        told = [process.communicate(timeout=120)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], told
        assert ["Test accuracy" in text for text in told] == [True, False]
        assert_same_training(in_one, tmp_path / "two")
    finally:
        for process in processes:
            process.kill()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.alone  # timed
@pytest.mark.parametrize(("by", "rank"), [("lightning", 1), ("torchrun", 1), ("torchrun", 0)])
def test_a_worker_that_is_killed_ends_the_training_which_goes_on(
    by: str, rank: int, in_one: Path, tmp_path: Path
) -> None:
    words = [*together(tmp_path / "two"), "trainer.limit_train_batches=300", "callbacks.checkpoint.every_n_steps=1"]
    start = [*TORCHRUN, "--nproc-per-node", "2"] if by == "torchrun" else [sys.executable]
    words += [] if by == "torchrun" else ["trainer.devices=2"]
    process = subprocess.Popen(
        [*start, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_for(Run(tmp_path / "two").last, process)
    workers = [pid for pid in children(process.pid) if has_rank(pid, rank)]
    os.kill(workers[0], signal.SIGKILL)
    started = time.monotonic()
    told, _ = process.communicate(timeout=60)
    assert time.monotonic() - started < 45
    assert process.returncode not in (0, 2)
    assert "Failed: another process of this training has ended" in told
    assert "hydra.run.dir goes on" in told
    again = subprocess.run([*start, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "Continuing from" in again.stdout
    results = Run(tmp_path / "two").results()
    assert results
    assert results.steps == 200  # all of an epoch


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for child in map(int, listed) for each in (child, *children(child))]


def has_rank(pid: int, rank: int) -> bool:
    return b"\0LOCAL_RANK=%d\0" % rank in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()


def test_torchrun_needs_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert parallel.started_outside() == (2, 2)
    with pytest.raises(UserError, match="in one directory: add hydra.run.dir=outputs/NAME"):
        command_line.check(["trainer=ddp"])
    for words in ([], ["trainer=ddp", "trainer.devices=2"], ["trainer.strategy=ddp_spawn"]):
        with pytest.raises(UserError, match="4 processes were started for one training: add trainer=ddp, without"):
            command_line.check([*words, f"hydra.run.dir={tmp_path}"])
    command_line.check(["trainer=ddp", f"hydra.run.dir={tmp_path}"])


def test_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "6", "SLURM_NNODES": "2", "SLURM_PROCID": "3"}.items():
        monkeypatch.setenv(name, value)
    assert parallel.started_outside() == (3, 2)
    assert not parallel.is_first()
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert parallel.is_first()  # as Lightning decides: RANK, then LOCAL_RANK, then Slurm's
    monkeypatch.setenv("RANK", "2")
    assert not parallel.is_first()
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert parallel.started_outside() is None


def saved_at(last: Path) -> int:
    return last.stat().st_mtime_ns if last.exists() else 0


def test_machines_that_do_not_share_the_folder_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process goes on from step 40, and another begins."""
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    monkeypatch.setattr(trainer.fit_loop, "_load_combined_loader_states", lambda: None)
    seen = {"max": torch.tensor(40), "min": torch.tensor(0)}
    monkeypatch.setattr(trainer.strategy, "reduce", lambda tensor, reduce_op: seen[reduce_op])
    callback = Checkpoints(Run(tmp_path), CheckpointConfig(), validated=True)
    with pytest.raises(UserError, match=r"goes on from step 40, another from 0\. Set hydra.run.dir"):
        callback.on_train_start(trainer, LightningModule())

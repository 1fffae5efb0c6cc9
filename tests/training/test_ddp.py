"""Two processes on the CPU: the same training as in one process, in one run directory that the first one writes."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.nn.functional import cross_entropy

from digits import processes
from digits.config import CheckpointConfig
from digits.data.mnist import MNISTDataModule
from digits.errors import UserError
from digits.evaluation.metrics import read
from digits.runs.checkpoint import Checkpoint
from digits.runs.files import changed_at
from digits.runs.run import Run
from digits.training.checkpoints import Checkpoints
from digits.validation import parse_data, resolve

from ..helpers import (
    QUICK,
    RUN_FILES,
    TRAIN,
    Forked,
    children,
    composed,
    run,
    run_cold,
    same,
    start_cold,
    wait_for,
    weights,
)

# On a machine with a GPU, Lightning warns of each Trainer that these tests build themselves for the CPU.
pytestmark = pytest.mark.filterwarnings("ignore:GPU available but not used")

TWO = ["trainer.devices=2", "data.batch_size=10", "trainer.max_epochs=1"]
NORMALISED = "model.blocks=[{channels: 4, kernel_size: 3, normalisation: batch}]"
MANY_STEPS = [*QUICK[:-1], "trainer.limit_train_batches=100"]
STARTED_OUTSIDE = ["trainer=ddp", "trainer.accelerator=cpu", "data.batch_size=10"]
TORCHRUN = ["-m", "torch.distributed.run"]


def by_torchrun(rank: int, port: int) -> dict[str, str]:
    """The variables that torchrun sets in each of two processes."""
    both = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    return {**both, **own, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def by_slurm(rank: int, port: int) -> dict[str, str]:
    """The variables that `srun --ntasks=2 --ntasks-per-node=2` sets in each of two processes."""
    slurm = {"JOB_ID": "7", "STEP_ID": "0", "JOB_NAME": "digits", "NTASKS": "2", "NTASKS_PER_NODE": "2", "NNODES": "1"}
    slurm |= {"NODEID": "0", "NODELIST": "127.0.0.1", "PROCID": str(rank), "LOCALID": str(rank)}
    return {**{f"SLURM_{name}": value for name, value in slurm.items()}, "MASTER_PORT": str(port)}


@contextmanager
def two_processes(
    *words: str, cwd: Path, by: Callable[[int, int], dict[str, str]] = by_torchrun, **env: str
) -> Iterator[list[Forked]]:
    """Start two processes of one training, as a launcher does, and kill those that still run at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        Forked(TRAIN, *STARTED_OUTSIDE, *words, cwd=cwd, OMP_NUM_THREADS="1", **by(rank, port), **env)
        for rank in range(2)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def ended(processes: Iterable[Forked]) -> list[str]:
    """Wait for the processes, check that they exit with code 0, and return what they printed."""
    printed = [process.printed(120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    return printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "command"), [("ddp", ["-m", "digits", "train"]), ("ddp_spawn", [TRAIN])], ids=["ddp", "ddp_spawn"]
)
def test_two_processes_train_what_one_trains(strategy: str, command: list[str], tmp_path: Path) -> None:
    """Same images in each step, so the same losses up to rounding. Lightning starts the second process."""
    words = [*QUICK, "model.head.dropout=0"]
    one = [*words, "data.batch_size=20", "trainer.max_epochs=1", "hydra.run.dir=one"]
    assert run(TRAIN, *one, cwd=tmp_path).returncode == 0
    two = [*words, *TWO, f"trainer.strategy={strategy}", "hydra.run.dir=two"]
    done = run(*command, *two, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "strides" not in done.stderr  # torch's warning if gradients and weights differ in memory format
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {*RUN_FILES, "train.log", ".hydra"}
    single, double = Run(tmp_path / "one").results, Run(tmp_path / "two").results
    assert single is not None
    assert double is not None
    assert double.steps == single.steps == 5
    assert images_tested(tmp_path / "two") == 500
    assert double.test_loss == pytest.approx(single.test_loss, abs=1e-4)
    (row,), (double_row,) = (Run(tmp_path / name).read_metrics() for name in ("one", "two"))
    assert double_row["train/loss"] == pytest.approx(row["train/loss"], abs=1e-4)
    assert double_row["train/accuracy"] == pytest.approx(row["train/accuracy"], abs=1e-4)


SPAWNING_SWEEP = ["-m", *QUICK, *TWO, "trainer.strategy=ddp_spawn", "trainer.log_every_n_steps=1"]


@pytest.mark.long
def test_a_sweep_of_jobs_with_two_processes_and_with_one(tmp_path: Path) -> None:
    words = [*SPAWNING_SWEEP, "trainer.devices=2,1", "seed=0,1", "hydra.sweep.dir=whole"]
    whole = run(TRAIN, *words, cwd=tmp_path, timeout=200)
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count("2 processes with batches of 10: 20 images a step.") == 2
    assert whole.stdout.count("epoch 1/1 |") == 4
    assert whole.stderr == ""
    assert [Run(tmp_path / f"whole/{job}").results.steps for job in range(4)] == [5] * 4  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_job_with_two_processes_saves_when_the_sweep_is_terminated(tmp_path: Path) -> None:
    many = [*SPAWNING_SWEEP, "seed=0,1", "trainer.limit_train_batches=1.0", "trainer.max_epochs=200"]
    process = Forked(TRAIN, *many, "hydra.sweep.dir=cut", cwd=tmp_path)
    last = Run(tmp_path / "cut/0").last
    wait_for(last, process)
    process.send_signal(signal.SIGTERM)
    output = process.printed(60)
    assert process.returncode == 143, output
    assert "Saved at step" in output
    assert "To resume:" in output
    assert 0 < torch.load(last, weights_only=True)["global_step"] < 40_000


@pytest.mark.long
def test_parallel_jobs_of_two_processes_that_diverge_are_reported(tmp_path: Path) -> None:
    diverging = ["optimizer=sgd", "scheduler=none", "optimizer.lr=1e30", "seed=0,1", "hydra.sweep.dir=diverged"]
    done = run_cold(TRAIN, *SPAWNING_SWEEP, *diverging, "hydra/launcher=joblib", cwd=tmp_path, timeout=300)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stdout.count("failed: the loss is") >= 2


def assert_same_ends(whole: Path, cut: Path) -> None:
    """Same weights. In an interrupted epoch, training metrics count only the first process's images before the cut."""
    assert same(weights(whole), weights(cut))
    for row, cut_row in zip(Run(whole).read_metrics(), Run(cut).read_metrics(), strict=True):
        for key, value in row.items():
            assert cut_row[key] == pytest.approx(value, rel=0.1 if key.startswith("train/") else 1e-6), key


@pytest.mark.slow
@pytest.mark.parametrize("others", [[], [NORMALISED, "averaging=ema", "data/augment=affine"]])
def test_two_processes_cut_off_within_an_epoch_resume_to_the_same_end(others: list[str], tmp_path: Path) -> None:
    """Kill both; terminate the first, which stops the other; interrupt both, as Ctrl-C does in a terminal."""
    words = [*MANY_STEPS, *others, "trainer.max_epochs=1", "callbacks.checkpoint.every_n_steps=1"]
    with two_processes(*words, "hydra.run.dir=whole", cwd=tmp_path) as processes:
        ended(processes)
    last = Run(tmp_path / "cut").last
    for number, receivers, code in (
        (signal.SIGKILL, 2, -signal.SIGKILL),
        (signal.SIGTERM, 1, 143),
        (signal.SIGINT, 2, 130),
    ):
        before = changed_at(last)
        with two_processes(*words, "hydra.run.dir=cut", cwd=tmp_path) as processes:
            while changed_at(last) in (0, before):  # 0: not there yet, or being replaced
                assert processes[0].poll() is None, processes[0].communicate()
                time.sleep(0.002)
            for process in processes[:receivers]:
                process.send_signal(number)
            assert [process.wait(60) for process in processes] == [code, code]
        step = torch.load(last, weights_only=True)["global_step"]
        assert 0 < step < 100
    with two_processes(*words, "hydra.run.dir=cut", cwd=tmp_path) as processes:
        ended(processes)
    assert_same_ends(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.linux
@pytest.mark.parametrize(
    ("number", "to_all", "code"),
    [
        pytest.param(signal.SIGTERM, False, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, True, -signal.SIGKILL, marks=pytest.mark.long),
        pytest.param(signal.SIGINT, True, 130, marks=pytest.mark.long),  # as a terminal sends it
    ],
)
def test_lightnings_second_process_ends_with_the_first(
    number: signal.Signals, to_all: bool, code: int, tmp_path: Path
) -> None:
    words = [*MANY_STEPS, *TWO, "trainer.strategy=ddp", "trainer.max_epochs=10", "callbacks.checkpoint.every_n_steps=1"]
    process = Forked(TRAIN, *words, "hydra.run.dir=cut", cwd=tmp_path, new_session=True)
    last = Run(tmp_path / "cut").last
    wait_for(last, process)
    started = children(process.pid)
    assert started
    (os.killpg if to_all else os.kill)(process.pid, number)
    assert process.wait(60) == code
    deadline = time.monotonic() + 45
    while any(map(is_running, started)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert 0 < torch.load(last, weights_only=True)["global_step"] < 1000
    if number != signal.SIGTERM:  # resuming takes too long for the SIGTERM case, which CI runs
        for name in ("cut", "whole"):
            assert run(TRAIN, *words, f"hydra.run.dir={name}", cwd=tmp_path).returncode == 0
        assert_same_ends(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_two_processes_validate_the_average_that_is_saved(tmp_path: Path) -> None:
    """Each process has batch statistics of its own part of the images; the first one's are validated and saved."""
    words = [*QUICK, NORMALISED, "averaging=ema", "callbacks.checkpoint.monitor=val/loss", "trainer.max_epochs=1"]
    with two_processes(*words, "hydra.run.dir=run", cwd=tmp_path) as processes:
        ended(processes)
    here = Run(tmp_path / "run")
    config = here.read_config()
    assert config
    data = MNISTDataModule(parse_data(config["data"]))
    with torch.inference_mode():
        batches = [(Checkpoint(here.best).network()(images), labels) for images, labels in data.val_dataloader()]
    loss = cross_entropy(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    (row,) = here.read_metrics()
    assert row["val/loss"] == pytest.approx(float(loss), abs=1e-4)


EXACT = ["trainer.precision=32-true", "model.head.dropout=0", "trainer.log_every_n_steps=1", "trainer.max_epochs=1"]
TWENTY_STEPS = [*QUICK[:-1], *EXACT, "trainer.limit_train_batches=20"]


def images_tested(directory: Path) -> int:
    """Number of predictions in the confusion matrix: with several processes, every test image counts once."""
    evaluation = read(directory)
    assert evaluation
    return sum(map(sum, evaluation.confusion_matrix))


def losses(directory: Path) -> list[tuple[float, float]]:
    """Loss and accuracy of each step, from the log."""
    lines = re.findall(r"loss of the batch (\S+), accuracy (\S+) %", (directory / "train.log").read_text())
    return [(float(loss), float(accuracy)) for loss, accuracy in lines]


def assert_same_training(one: Path, two: Path) -> None:
    """Same losses and results, up to the four decimals of the log and the order of sums."""
    assert len(losses(one)) == len(losses(two)) == 20
    for (loss, accuracy), (expected, expected_accuracy) in zip(losses(two), losses(one), strict=True):
        assert loss == pytest.approx(expected, abs=2e-4)
        assert accuracy == pytest.approx(expected_accuracy, abs=0.01)
    single, double = Run(one).results, Run(two).results
    assert single
    assert double
    assert images_tested(two) == 500
    assert double.steps == single.steps == 20
    assert double.val_loss == pytest.approx(single.val_loss, abs=1e-4)
    (row,), (double_row,) = Run(one).read_metrics(), Run(two).read_metrics()
    assert double_row == pytest.approx(row, abs=1e-4)
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}


@pytest.fixture(scope="module")
def in_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a training of 20 steps in one process."""
    folder = tmp_path_factory.mktemp("in_one")
    assert run(TRAIN, *TWENTY_STEPS, "data.batch_size=20", "hydra.run.dir=one", cwd=folder).returncode == 0
    return folder / "one"


def command_line(folder: Path) -> list[str]:
    """The command line of one process of a training that a launcher starts."""
    return [TRAIN, *STARTED_OUTSIDE, *TWENTY_STEPS, f"hydra.run.dir={folder}"]


@pytest.mark.slow
def test_processes_of_torchrun_train_what_one_trains(in_one: Path, tmp_path: Path) -> None:
    done = run_cold(*TORCHRUN, "--nproc-per-node", "2", *command_line(tmp_path / "two"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 processes with batches of 10: 20 images a step." in done.stdout
    assert done.stdout.count("Test accuracy") == 1
    assert_same_training(in_one, tmp_path / "two")
    words = [word for word in TWENTY_STEPS if word != "report=false"]
    with two_processes(*words, "hydra.run.dir=two", cwd=tmp_path) as processes:
        ended(processes)
    assert Run(tmp_path / "two").report_file.exists()  # the first training wrote none


@pytest.mark.slow
def test_processes_of_slurm_train_what_one_trains(in_one: Path, tmp_path: Path) -> None:
    with two_processes(*TWENTY_STEPS, "hydra.run.dir=two", cwd=tmp_path, by=by_slurm) as processes:
        outputs = ended(processes)
    assert ["Test accuracy" in text for text in outputs] == [True, False]
    assert_same_training(in_one, tmp_path / "two")


@pytest.mark.slow
def test_slurms_signal_saves_and_submits_the_training_again(tmp_path: Path) -> None:
    """With `--signal=USR1@60`, Slurm sends the signal first, and kills all processes later."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "$@" >> requeued\n')
    scontrol.chmod(0o755)
    two = Run(tmp_path / "two")
    words = [*TWENTY_STEPS, "trainer.limit_train_batches=1.0", "trainer.max_epochs=3", "hydra.run.dir=two"]
    path = f"{tmp_path}:{os.environ['PATH']}"
    with two_processes(*words, cwd=tmp_path, by=by_slurm, PATH=path) as processes:
        wait_for(two.last, processes[0])
        processes[0].send_signal(signal.SIGUSR1)
        time.sleep(0.3)  # a process on another machine may receive it later
        processes[1].send_signal(signal.SIGUSR1)
        wait_for(tmp_path / "requeued", processes[0])
        time.sleep(1)
        for process in processes:
            process.kill()
        output, _ = processes[0].communicate(timeout=20)
    assert {path.name for path in two.path.iterdir()}.isdisjoint({"hpc_ckpt_1.ckpt", "results.json"})
    saved = re.search(r"Saved at step (\d+)", output)
    assert saved
    assert int(saved[1]) < 600
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"
    with two_processes(*words, cwd=tmp_path, by=by_slurm, PATH=path) as processes:
        assert "Continuing from" in ended(processes)[0]
    results = two.results
    assert results
    assert results.steps == 600
    assert {path.name for path in two.path.iterdir()} == {*RUN_FILES, "train.log", ".hydra"}


@pytest.mark.long
@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("ip"), reason="network namespaces need root and ip"
)
def test_two_machines(in_one: Path, tmp_path: Path) -> None:
    """Two network namespaces with their own addresses, a virtual cable between them, and a shared folder."""
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
                    ["ip", "netns", "exec", name, sys.executable, *TORCHRUN, *words, *command_line(tmp_path / "two")],
                    cwd=tmp_path,
                    env={**os.environ, "GLOO_SOCKET_IFNAME": end},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        outputs = [process.communicate(timeout=120)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], outputs
        assert ["Test accuracy" in text for text in outputs] == [True, False]
        assert_same_training(in_one, tmp_path / "two")
    finally:
        for process in processes:
            process.kill()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.alone  # timed
def test_a_killed_process_ends_the_training_which_then_resumes(tmp_path: Path) -> None:
    words = [*TWENTY_STEPS, "trainer.limit_train_batches=300", "callbacks.checkpoint.every_n_steps=1"]
    with two_processes(*words, "hydra.run.dir=two", cwd=tmp_path) as processes:
        wait_for(Run(tmp_path / "two").last, processes[0])
        processes[1].kill()
        started = time.monotonic()
        output = processes[0].printed(60)
        assert time.monotonic() - started < 45
        assert processes[0].returncode == 1
    assert "Failed: another process of this training has ended" in output
    assert "run the same command in the same hydra.run.dir to resume" in output
    with two_processes(*words, "hydra.run.dir=two", cwd=tmp_path) as processes:
        assert "Continuing from" in ended(processes)[0]
    results = Run(tmp_path / "two").results
    assert results
    assert results.steps == 200  # the whole epoch, which has fewer than 300


@pytest.mark.linux
@pytest.mark.long
@pytest.mark.parametrize(("by", "rank"), [("lightning", 1), ("torchrun", 1), ("torchrun", 0)])
def test_a_killed_worker_ends_the_training_which_then_resumes(by: str, rank: int, tmp_path: Path) -> None:
    words = [*command_line(tmp_path / "two"), "trainer.limit_train_batches=300", "callbacks.checkpoint.every_n_steps=1"]
    start = [*TORCHRUN, "--nproc-per-node", "2", *words] if by == "torchrun" else [*words, "trainer.devices=2"]
    process = start_cold(*start, cwd=tmp_path)
    wait_for(Run(tmp_path / "two").last, process)
    workers = [pid for pid in children(process.pid) if has_rank(pid, rank)]
    os.kill(workers[0], signal.SIGKILL)
    started = time.monotonic()
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - started < 45
    assert process.returncode not in (0, 2)
    assert "Failed: another process of this training has ended" in output
    assert "run the same command in the same hydra.run.dir to resume" in output
    resumed = run_cold(*start, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "Continuing from" in resumed.stdout


def is_running(pid: int) -> bool:
    """Whether the process runs. A zombie, which has ended but whose parent has not waited for it, does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def has_rank(pid: int, rank: int) -> bool:
    return b"\0LOCAL_RANK=%d\0" % rank in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()


def test_processes_of_torchrun_need_a_directory_and_trainer_ddp(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert processes.launched_externally() == (2, 2)
    cfg = resolve(composed("trainer=ddp"))
    with pytest.raises(UserError, match="in one directory: add hydra.run.dir=outputs/NAME"):
        processes.check(cfg, names_directory=False)
    for words in ([], ["trainer=ddp", "trainer.devices=2"], ["trainer.strategy=ddp_spawn"]):
        with pytest.raises(UserError, match="4 processes were started for one training: add trainer=ddp, without"):
            processes.check(resolve(composed(*words)), names_directory=True)
    processes.check(cfg, names_directory=True)


def test_several_machines_need_a_launcher() -> None:
    cfg = resolve(composed("trainer=ddp", "trainer.num_nodes=2"))
    with pytest.raises(UserError, match=r"trainer\.num_nodes=2 would wait for processes on other machines"):
        processes.check(cfg, names_directory=True)


@pytest.mark.parametrize(("job", "devices", "refused"), [
    ("train", "2", True), ("train", "'0,1'", True), ("train", "1", False), ("interactive", "2", False),
])  # fmt: skip
def test_srun_with_one_process_for_several_devices_is_refused(
    job: str, devices: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"STEP_ID": "0", "NTASKS": "1", "JOB_NAME": job}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    cfg = resolve(composed("trainer=ddp", f"trainer.devices={devices}"))
    expected = pytest.raises(UserError, match="srun has started one") if refused else contextlib.nullcontext()
    with expected:
        processes.check(cfg, names_directory=True)


def test_the_number_and_rank_of_processes_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "6", "SLURM_NNODES": "2", "SLURM_PROCID": "3"}.items():
        monkeypatch.setenv(name, value)
    assert processes.launched_externally() == (3, 2)
    assert not processes.is_first()
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert processes.is_first()  # in Lightning's order: RANK, LOCAL_RANK, then Slurm's
    monkeypatch.setenv("RANK", "2")
    assert not processes.is_first()
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert processes.launched_externally() is None


def test_machines_that_do_not_share_the_folder_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process resumes at step 40, and another one at step 0."""
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    monkeypatch.setattr(trainer.fit_loop, "_load_combined_loader_states", lambda: None)
    seen = {"max": torch.tensor(40), "min": torch.tensor(0)}
    monkeypatch.setattr(trainer.strategy, "reduce", lambda tensor, reduce_op: seen[reduce_op])
    callback = Checkpoints(Run(tmp_path), CheckpointConfig(), validated=True)
    with pytest.raises(UserError, match=r"resumes at step 40, another at 0\. Set hydra.run.dir"):
        callback.on_train_start(trainer, LightningModule())

"""Helpers that the tests share: small configurations and data, processes, and comparisons.

Only the functions that need torch import it: some tests run where only Hydra is installed.
"""

import atexit
import contextlib
import copy
import ctypes
import functools
import http.server
import io
import json
import logging
import multiprocessing
import os
import runpy
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from digits import overrides, signals
from digits.entry import command

if TYPE_CHECKING:
    import pytest
    from torch import Tensor

    from digits.runs.results import Results

Compose = Callable[..., DictConfig]

ROOT = Path(__file__).resolve().parents[1]
TRAIN = str(ROOT / "train.py")

RUN_FILES = {"config.yaml", "metrics.csv", "predictions.csv", "evaluation.json", "results.json", "checkpoints", ".lock"}
"""What every training writes in its directory; ``train.log`` and the report are optional."""

# A network and a training small enough to finish in a second.
TINY = [
    "model.blocks=[{channels: 4, kernel_size: 3, padding: 1}]",
    "model.head.hidden=[8]",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "trainer.log_every_n_steps=5",
    "optimizer.lr=0.001",
    "data.batch_size=20",
    "data.val_size=40",
    "report=false",
]

# The smallest training on genuine digits; it needs no internet access.
QUICK = [
    *[word for word in TINY if not word.startswith(("data", "trainer.log"))],
    "data=sample",
    "trainer.limit_train_batches=5",
]

LINUX_CAPABILITY_VERSION_3, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 0x20080522, 1, 2  # from Linux's capability.h


def gpus() -> list[str]:
    """The values of ``trainer.accelerator`` that this machine supports, other than ``cpu``."""
    import torch

    available = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [name for name, there in available.items() if there]


def see_a_gpu(monkeypatch: "pytest.MonkeyPatch") -> None:
    """Let Lightning find a GPU when it decides whether to warn about an unused one."""
    from lightning.pytorch.accelerators import CUDAAccelerator
    from lightning.pytorch.trainer import setup

    class AvailableGPU(CUDAAccelerator):
        @staticmethod
        def is_available() -> bool:
            return True

    monkeypatch.setattr(setup, "CUDAAccelerator", AvailableGPU)


def composed(*words: str) -> DictConfig:
    """Compose a command line: first the files, with `overrides.compose`, then the values of single keys.

    Hydra does the same in the same order. Composing the files only once for all tests takes a tenth of the time.
    """
    changes = OverridesParser.create().parse_overrides(list(words))
    values = [change for change in changes if _sets_a_value(change)]
    others = [str(change.input_line) for change in changes if not _sets_a_value(change)]
    config = copy.deepcopy(_composed(*others))
    try:
        for change in values:
            OmegaConf.update(config, change.key_or_group, change.value(), merge=True)
    except OmegaConfBaseException:
        return overrides.compose(*words)  # it explains the error
    return config


def _sets_a_value(change: Override) -> bool:
    """Whether an override sets one of our keys, and neither chooses a file nor adds or deletes a key."""
    key = change.key_or_group
    special = key.startswith("hydra.") or (overrides.config_directory() / key).is_dir()
    return change.type is OverrideType.CHANGE and not change.is_sweep_override() and not special


@functools.cache  # composing takes longer than a tiny training
def _composed(*words: str) -> DictConfig:
    return overrides.compose(*words)


# Data


def digits_like(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28) uint8 and labels (n,) uint8 that a small network learns fast: a bright row per class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 10
    images = rng.integers(0, 40, (n, 28, 28))
    images[np.arange(n), 2 * labels + 4] = 200
    return images.astype(np.uint8), labels.astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    """The content of an IDX file, from an array of bytes."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@functools.cache
def sample_digits() -> tuple[np.ndarray, np.ndarray]:
    """The 5,000 genuine digits of the sample: images (5000, 28, 28) uint8 and labels (5000,) uint8, sorted by label."""
    from digits.data import sample

    return sample.load()


def draw(path: Path, index: int) -> str:
    """Save a digit of the sample as a picture, dark on white, and return the path."""
    images, _ = sample_digits()
    Image.fromarray(255 - images[index]).resize((84, 84)).save(path)
    return str(path)


def paper(
    digit: np.ndarray | None = None,
    side: int = 110,
    at: tuple[int, int] = (90, 50),
    ink: tuple[int, int, int] = (20, 20, 30),
    colour: tuple[int, int, int] = (240, 238, 225),
    noise: float = 2.0,
) -> Image.Image:
    """A picture, 240 by 200 pixels, of a digit drawn on paper: a seven by default."""
    if digit is None:
        images, labels = sample_digits()
        digit = images[np.flatnonzero(labels == 7)[3]]
    cover = Image.new("L", (240, 200))
    cover.paste(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), at)
    picture = np.array(Image.composite(Image.new("RGB", cover.size, ink), Image.new("RGB", cover.size, colour), cover))
    noisy = picture + np.random.default_rng(0).normal(0, noise, picture.shape)
    return Image.fromarray(noisy.clip(0, 255).astype("u1"))


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The content of a picture file in a format such as ``PNG``."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def bomb() -> bytes:
    """A decompression bomb: a tiny PNG file that claims to have 30,000×30,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


class Mirror:
    """A file server on the loopback interface. It behaves well unless a test replaces its `answer`."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.requests: list[str] = []
        self.answer: Callable[[http.server.BaseHTTPRequestHandler, bytes], None] = self.send
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                mirror.requests.append(name)
                mirror.answer(self, contents.get(name, b""))

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}/mnist/"
        threading.Thread(
            target=self.server.serve_forever, args=(0.02,), daemon=True
        ).start()  # checks every 0.02 s whether to shut down

    @staticmethod
    def send(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
        """Send a file, or 404 if it does not exist."""
        handler.send_response(200 if content else 404)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


# Runs


def finished(**changes: Any) -> "Results":
    """The results of a finished run, with some values changed."""
    from digits.runs.results import Results

    values: dict[str, Any] = {
        **dict.fromkeys(("epochs", "best_epoch", "steps", "parameters", "seed"), 1),
        "test_accuracy": 0.9,
        "test_loss": 0.5,
        "val_accuracy": 0.8,
        "val_loss": 0.5,
        "calibration_error": 0.01,
        **dict.fromkeys(("train_seconds", "wall_seconds"), 1.0),
        "dataset": {"name": "mnist", "train": 55_000, "val": 5_000, "test": 10_000, "fingerprint": "0"},
        "precision": "32-true",
        "accelerator": "cpu",
        "versions": {"python": "3.11"},
        "hardware": {"cores": 2},
        "git": None,
    }
    return Results(**{"status": "finished", **values, **changes})


def results_of(run: Path) -> dict[str, Any]:
    """The content of ``results.json``."""
    content: dict[str, Any] = json.loads((run / "results.json").read_text())
    return content


def repeatable(run: Path) -> dict[str, Any]:
    """The content of ``results.json`` without the times, which differ between equal trainings."""
    return {key: value for key, value in results_of(run).items() if key not in ("train_seconds", "wall_seconds")}


def weights(run: Path, name: str = "last") -> dict[str, "Tensor"]:
    """The weights in a checkpoint of a run."""
    import torch

    state: dict[str, Tensor] = torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
    return state


def same(one: "Mapping[str, Tensor]", other: "Mapping[str, Tensor]") -> bool:
    """Whether two sets of weights are equal to the last bit."""
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def assert_same_runs(one: Path, other: Path) -> None:
    """Assert that two runs have the same weights to the last bit, the same results and the same metrics.

    The other run must have no checkpoints except best and last.
    """
    for name in ("best", "last"):
        assert same(weights(one, name), weights(other, name))
    assert repeatable(one) == repeatable(other)
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    assert {path.name for path in (other / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


# Commands, called in this process


class Done(NamedTuple):
    """The exit code and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


@contextmanager
def restored() -> Iterator[None]:
    """On exit, restore the handlers and environment variables that a command called in this process changes."""
    root, variables = logging.getLogger(), dict(os.environ)
    handlers, raising = root.handlers[:], logging.raiseExceptions
    numbers = (*signals.STOP_SIGNALS, *signals.SCHEDULER_SIGNALS)
    listeners = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        signals.restore_handlers(listeners)
        signals.forget()
        signals._previous_handlers.clear()
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers, logging.raiseExceptions = handlers, raising
        os.environ.clear()
        os.environ.update(variables)


def call_main(main: Callable[[], int | None], argv: list[str]) -> int:
    """Call a command's main function with a command line, and return its exit code."""
    before, sys.argv = sys.argv, argv
    try:
        with restored(), command():
            sys.exit(main())
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = before
    raise AssertionError("a command ends with an exit code")


# Processes that start cold, as a user's do: the imports take five seconds or more


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process that a test starts: without MNIST_ROOT and HYDRA_FULL_ERROR, with changes."""
    kept = {name: value for name, value in os.environ.items() if name not in ("MNIST_ROOT", "HYDRA_FULL_ERROR")}
    return {**kept, **changes}


def run_cold(*words: str, cwd: Path, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``python WORDS`` in a new interpreter, and wait for its end."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def start_cold(*words: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
    """Start ``python WORDS``; its standard error goes into its standard output."""
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=cwd,
        env=environment(**env),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


# Processes forked from one that has already imported torch: they start in a tenth of a second

_FORKING = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")


@functools.cache
def _warm_up() -> None:
    """Start the process to fork from, in the folder where it finds `tests.warm`."""
    multiprocessing.set_forkserver_preload(["tests.warm"])
    with contextlib.chdir(ROOT):
        forkserver.ensure_running()


class Forked:
    """A separate process that starts with torch imported, and has the methods of `subprocess.Popen` that tests use.

    It writes its output to files, which are read when it has ended.

    Args:
        words: After ``python``: train.py and its overrides, or ``-m digits`` and a command.
        cwd: Its working directory.
        prepared: Called in the process before the command starts.
        new_session: Whether it leads a new session and process group.
        env: Environment variables, in addition to those of `environment`.
    """

    def __init__(
        self,
        *words: str,
        cwd: Path,
        prepared: Callable[[], None] | None = None,
        new_session: bool = False,
        **env: str,
    ) -> None:
        _warm_up()
        folder = tempfile.mkdtemp(prefix="digits-test-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._files = [Path(folder, name) for name in ("out", "err")]
        for file in self._files:
            file.touch()
        ready, announce = _FORKING.Pipe(duplex=False)
        arguments = (words, str(cwd), environment(**env), self._files, prepared, new_session, announce)
        self._process = _FORKING.Process(target=_begin, args=arguments)
        self._process.start()
        announce.close()
        with contextlib.suppress(EOFError):  # it may end before it is ready
            ready.recv()
        ready.close()
        atexit.register(self.kill)  # a process that a failed test leaves would keep pytest waiting at exit
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code, as `subprocess.Popen.poll` returns it."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            TimeoutExpired: If it still runs after `timeout` seconds.
        """
        self._process.join(timeout)
        if self.returncode is None:
            written = [file.read_text(encoding="utf-8") for file in self._files]
            raise subprocess.TimeoutExpired("forked", timeout or 0, *written)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end, and return what it wrote to standard output and standard error."""
        self.wait(timeout)
        out, err = (file.read_text(encoding="utf-8", errors="replace") for file in self._files)
        return out, err

    def printed(self, timeout: float | None = None) -> str:
        """Wait for its end, and return its standard output followed by its standard error."""
        return "".join(self.communicate(timeout))

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


def run(
    *words: str, cwd: Path, timeout: float = 120, prepared: Callable[[], None] | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python WORDS`` to its end, forked from a process that has imported torch."""
    process = Forked(*words, cwd=cwd, prepared=prepared, **env)
    try:
        out, err = process.communicate(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(words, process.wait(), out, err)


def _begin(
    words: tuple[str, ...],
    cwd: str,
    env: dict[str, str],
    files: list[Path],
    prepared: Callable[[], None] | None,
    new_session: bool,
    announce: Connection,
) -> None:
    """Prepare a forked process, and run its command."""
    assert "tests.warm" in sys.modules or not hasattr(os, "fork"), "tests/warm.py cannot be imported"
    import torch

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as train.py: exit silently on Ctrl-C until a handler is installed
    for stream, file in enumerate(files, start=1):
        output_to(str(file), stream)
    if new_session:
        os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if threads := env.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    announce.send(True)
    announce.close()
    if prepared:
        prepared()
    if words[0] == "-m":
        sys.argv = list(words[1:])
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words)
        runpy.run_path(words[0], run_name="__main__")


def without_privileges() -> None:
    """Make this process respect file permissions: drop the capabilities that let root ignore them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    header = struct.pack("Ii", LINUX_CAPABILITY_VERSION_3, 0)
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable: for capabilities 0 to 31, then from 32
    libc = ctypes.CDLL(None)
    assert libc.capget(header, sets) == 0
    kept = ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    effective, permitted, *others = struct.unpack("6I", sets)
    assert libc.capset(header, struct.pack("6I", effective & kept, permitted & kept, *others)) == 0


def wait_for(path: Path, process: "subprocess.Popen[str] | Forked", seconds: float = 120) -> None:
    """Wait until a process has written a file."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {path} within {seconds} s"
        time.sleep(0.005)


def wait_for_text(path: Path, text: str, process: "subprocess.Popen[str] | Forked", seconds: float = 120) -> None:
    """Wait until a process has written a text into a file."""
    deadline = time.monotonic() + seconds
    while text not in path.read_text(encoding="utf-8"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {text} in {path} within {seconds} s"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """The IDs of all processes that a process has started, directly or indirectly."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for child in map(int, listed) for each in (child, *children(child))]


def output_to(path: str, *streams: int) -> None:
    """Redirect this process's standard output (1), error (2) or both to a file, a terminal or a named pipe.

    The buffering is Python's: standard output is line-buffered only on a terminal.
    """
    file = os.open(path, os.O_WRONLY)
    for stream in streams or (1, 2):
        os.dup2(file, stream)
        buffering = 1 if stream == 2 or os.isatty(stream) else -1
        errors_ = "strict" if stream == 1 else "backslashreplace"
        text = open(stream, "w", buffering, encoding="utf-8", errors=errors_, closefd=False)  # noqa: SIM115
        setattr(sys, {1: "stdout", 2: "stderr"}[stream], text)
    os.close(file)

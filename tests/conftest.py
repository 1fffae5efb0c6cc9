"""Fixtures that the tests share: a composed configuration, tiny MNIST files, a mirror on the loopback interface."""

import ctypes
import gzip
import hashlib
import http.server
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from digits import config, errors
from digits.data import files

PR_CAPBSET_DROP, DAC_OVERRIDE, DAC_READ_SEARCH = 24, 1, 2  # of Linux's prctl.h and capability.h

ROOT = Path(__file__).resolve().parents[1]

GPUS = [
    name for name, there in (("gpu", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if there
]
"""What ``trainer.accelerator`` may be here, beside ``cpu``."""

RUN_FILES = {"config.yaml", "metrics.csv", "evaluation.json", "results.json", "checkpoints", ".lock"}
"""What a training leaves in its directory; ``train.log`` and the report where they are asked for."""

# A network and a training small enough to be over in a second.
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


def composed(*overrides: str) -> DictConfig:
    """The configuration that a command line composes."""
    with initialize_config_dir(str(config.directory()), version_base="1.3"):
        return compose("train", list(overrides))


def digits_like(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28) uint8 and labels (n,) uint8 that a small network learns at once: each class a bright row."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 10
    images = rng.integers(0, 40, (n, 28, 28))
    images[np.arange(n), 2 * labels + 4] = 200
    return images.astype(np.uint8), labels.astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    """An IDX file of bytes."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def tiny_contents(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small IDX files, 240 images to train and 50 to test, that count as the official ones."""
    train_images, train_labels = digits_like(240, seed=1)
    test_images, test_labels = digits_like(50, seed=2)
    arrays = (train_images, train_labels, test_images, test_labels)
    contents = {name: idx(array) for name, array in zip(files.OFFICIAL, arrays, strict=True)}
    official = {
        name: files.Official(len(content), hashlib.sha256(content).hexdigest()) for name, content in contents.items()
    }
    monkeypatch.setattr(files, "OFFICIAL", official)
    return contents


@pytest.fixture
def tiny_mnist(tiny_contents: dict[str, bytes], tmp_path: Path) -> Path:
    """A folder that holds them."""
    root = tmp_path / "mnist"
    root.mkdir()
    for name, content in tiny_contents.items():
        (root / f"{name}.gz").write_bytes(gzip.compress(content))
    return root


@pytest.fixture
def tiny(tiny_mnist: Path) -> Callable[..., DictConfig]:
    """Composes a tiny training on tiny MNIST."""
    return lambda *overrides: composed(*TINY, f"data.root={tiny_mnist}", *overrides)


@pytest.fixture(scope="session")
def sample_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run on the sample, with a network that reads most digits; for reading only."""
    from digits.training import train

    directory = tmp_path_factory.mktemp("sample") / "run"
    blocks = "model.blocks=[{channels: 8, kernel_size: 5, padding: 2, normalisation: batch}, {channels: 8, padding: 0}]"
    words = ["data=sample", "data.val_size=500", "data.batch_size=40", "optimizer.lr=0.01", "trainer.max_epochs=2"]
    train(composed(*TINY, blocks, "model.head.hidden=[]", *words), directory)
    return directory


class Mirror:
    """A server of files on the loopback interface, well-behaved unless told otherwise."""

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
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def send(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
        """The file, or 404 for one that is not there."""
        handler.send_response(200 if content else 404)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@pytest.fixture
def start_mirror() -> Iterator[Callable[[dict[str, bytes]], Mirror]]:
    """Starts mirrors that end with the test."""
    mirrors: list[Mirror] = []

    def start(contents: dict[str, bytes]) -> Mirror:
        mirrors.append(Mirror({f"{name}.gz": gzip.compress(content) for name, content in contents.items()}))
        return mirrors[-1]

    yield start
    for mirror in mirrors:
        mirror.server.shutdown()
        mirror.server.server_close()


@pytest.fixture
def mnist_root() -> Path:
    """The official files; a test that uses it is marked ``mnist``."""
    root = os.environ.get("MNIST_ROOT")
    if not root:
        pytest.skip("MNIST_ROOT is not set")
    return Path(root).absolute()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process that goes on has written a file."""
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)


@contextmanager
def as_it_was() -> Iterator[None]:
    """Afterwards, put back what a command that is called in this process sets up: the log's places, and signals."""
    root = logging.getLogger()
    handlers, raising = root.handlers[:], logging.raiseExceptions
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, *errors.SCHEDULERS)}
    try:
        yield
    finally:
        for number, listener in signals.items():
            signal.signal(number, listener)
        errors._forget()
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers, logging.raiseExceptions = handlers, raising


def run(*words: str, cwd: Path, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``python train.py`` as a person does, in a process of its own without MNIST_ROOT."""
    return run_python(str(ROOT / "train.py"), *words, cwd=cwd, timeout=timeout, **env)


def without_privileges() -> None:
    """Have a process that is about to begin obey the permissions of files, though it be root's."""
    if sys.platform == "linux" and os.geteuid() == 0:
        for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
            assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def run_python(
    *words: str, cwd: Path, timeout: float = 120, prepared: Callable[[], None] | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run this Python in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MNIST_ROOT", "HYDRA_FULL_ERROR")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**environment, **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        preexec_fn=prepared,
    )

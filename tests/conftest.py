"""Fixtures that the tests share: tiny MNIST files, trainings on them, a finished run, a mirror."""

import gzip
import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from omegaconf import DictConfig

from digits import signals

from .helpers import TINY, Mirror, composed, digits_like, idx, see_a_gpu

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--pretend-gpu``, for machines without a GPU."""
    parser.addoption("--pretend-gpu", action="store_true", help="have Lightning see a GPU that no Trainer uses")


def pytest_configure() -> None:
    """Stop ignoring signals, as in a terminal: a process that a script starts in the background ignores Ctrl-C."""
    for number in signals.STOP_SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import the tests as a command imports torch: afterwards, the garbage collector skips the imported objects."""
    with signals.importing():
        return (yield)


@pytest.hookimpl(tryfirst=True)  # before the selection by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip ``linux`` tests where there is no /proc, mark browser tests as slow, and run the slow tests first.

    The files that take longest come first, so that all test processes have work until the end.
    """
    no_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here")
    for item in items:
        if item.get_closest_marker("linux"):
            item.add_marker(no_proc)
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
    longest = {"test_readme.py": 0, "test_faults.py": 1}
    items.sort(key=lambda item: longest.get(item.path.name, 2) if item.get_closest_marker("slow") else 3)


@pytest.fixture(autouse=True)
def pretend_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``--pretend-gpu``, let Lightning find a GPU when it decides whether to warn about an unused one."""
    if request.config.getoption("--pretend-gpu"):
        see_a_gpu(monkeypatch)


@pytest.fixture
def tiny_contents(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small IDX files, with 240 training and 50 test images, that digits accepts as the official ones."""
    from digits.data import sources

    train_images, train_labels = digits_like(240, seed=1)
    test_images, test_labels = digits_like(50, seed=2)
    arrays = (train_images, train_labels, test_images, test_labels)
    contents = {name: idx(array) for name, array in zip(sources.MNIST.files, arrays, strict=True)}
    official = {
        name: sources.Official(len(content), hashlib.sha256(content).hexdigest()) for name, content in contents.items()
    }
    monkeypatch.setattr(sources.MNIST, "files", official)
    return contents


@pytest.fixture
def tiny_mnist(tiny_contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of `tiny_contents`, compressed; MNIST_ROOT names it."""
    root = tmp_path / "mnist"
    root.mkdir()
    for name, content in tiny_contents.items():
        (root / f"{name}.gz").write_bytes(gzip.compress(content))
    monkeypatch.setenv("MNIST_ROOT", str(root))
    return root


@pytest.fixture
def tiny(tiny_mnist: Path) -> Callable[..., DictConfig]:
    """A function that composes a tiny training on `tiny_mnist`, with more overrides."""
    return lambda *overrides: composed(*TINY, *overrides)


@pytest.fixture(scope="session")
def sample_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run on the sample, with a network that reads most digits. Do not change it."""
    from digits.training.train import train

    directory = tmp_path_factory.mktemp("sample") / "run"
    blocks = "model.blocks=[{channels: 8, kernel_size: 5, padding: 2, normalisation: batch}, {channels: 8, padding: 0}]"
    words = ["data=sample", "data.val_size=500", "data.batch_size=40", "optimizer.lr=0.01", "trainer.max_epochs=2"]
    train(composed(*TINY, blocks, "model.head.hidden=[]", *words), directory)
    return directory


@pytest.fixture
def start_mirror() -> Iterator[Callable[[dict[str, bytes]], Mirror]]:
    """A function that starts mirrors. They stop when the test ends."""
    mirrors: list[Mirror] = []

    def start(contents: dict[str, bytes]) -> Mirror:
        mirrors.append(Mirror({f"{name}.gz": gzip.compress(content, 1) for name, content in contents.items()}))
        return mirrors[-1]

    yield start
    for mirror in mirrors:
        mirror.server.shutdown()
        mirror.server.server_close()


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Headless Chromium. Where it is missing, the test fails in CI and is skipped elsewhere."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        message = "there is no Chromium here; on Debian: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    offline = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *offline])
        yield browser
        browser.close()


@pytest.fixture
def mnist_root() -> Path:
    """The folder of the official files. Mark tests that use it with ``mnist``."""
    root = os.environ.get("MNIST_ROOT")
    if not root:
        pytest.skip("MNIST_ROOT is not set")
    return Path(root).absolute()

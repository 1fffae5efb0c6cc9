"""Helpers of the benchmarks: the MNIST files, processes with their time and memory, figures with their spread."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digits.data import download as files
from digits.data.download import Found
from digits.training import provenance

ROOT = Path(__file__).resolve().parents[1]
QUICK = "--quick" in sys.argv  # fewer repeats: all benchmarks together take some minutes
if QUICK:
    sys.argv.remove("--quick")


def official() -> Found:
    """The official files under MNIST_ROOT or data/."""
    return files.obtain(Path(os.environ.get("MNIST_ROOT", "data")))


def official_folder() -> Path:
    """The folder of the official files, as an absolute path."""
    return next(iter(official().paths.values())).parent.absolute()


def write_raw(folder: str) -> None:
    """Write the official files, decompressed, to where torchvision's MNIST finds them below a folder."""
    raw = Path(folder) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in official().contents.items():
        (raw / name).write_bytes(content)


@dataclass
class Process:
    """A finished process.

    Attributes:
        wall_seconds: From its start to its end.
        peak_memory: The most memory that it used, in MiB.
        output: Its standard output.
    """

    wall_seconds: float
    peak_memory: float
    output: str


def run(*command: str) -> Process:
    """Run a program with this Python, and wait for its end; raise RuntimeError if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")
    return Process(
        time.perf_counter() - started, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2), output
    )


def last_line(process: Process) -> Any:
    """The JSON on the last line that a process printed."""
    return json.loads(process.output.splitlines()[-1])


def spread(values: Sequence[float], unit: str = "s") -> str:
    """Median and range: ``1.20 s (1.10 to 1.40, n = 5)``."""
    return f"{statistics.median(values):.3g} {unit} ({min(values):.3g} to {max(values):.3g}, n = {len(values)})"


def machine() -> str:
    """Processor, cores and versions, on one line."""
    found, versions = provenance.hardware(), provenance.versions()
    return (
        f"{found['processor']}, {found['cores']} cores; Python {versions['python']}, torch {versions['torch']}, "
        f"lightning {versions['lightning']}"
    )


def write(name: str, content: Mapping[str, Any]) -> None:
    """Write the figures to ``outputs/benchmarks/NAME.json``, with the hardware, the versions and the commit."""
    path = ROOT / "outputs" / "benchmarks" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"hardware": provenance.hardware(), "versions": provenance.versions(), "git": provenance.git()}
    path.write_text(json.dumps({**content, **about}, indent=2) + "\n", encoding="utf-8")
    print(f"written to {path.relative_to(ROOT)}\n")

"""Parallel jobs of a sweep: how many run at once, on which GPU, and how they end with the sweep."""

import atexit
import contextlib
import getpass
import itertools
import math
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import filelock

from digits.errors import UserError
from digits.locks import Lock
from digits.processes import SAVE_SECONDS

JOB_BYTES = 2e9  # memory of a job: 0.7 GB for torch and MNIST, and as much for the feature maps
CONTAINER_MEMORY = Path("/sys/fs/cgroup/memory.max")  # bytes, or the word max


def jobs_at_once(jobs: int, accelerator: str = "auto", processes: int = 1) -> int:
    """How many jobs to run at once: one per GPU, or as many as have a core and memory for each process."""
    import joblib

    gpus = 0 if accelerator == "cpu" else len(_gpus())
    return max(1, min(jobs, gpus or int(min(joblib.cpu_count(), _memory() / JOB_BYTES) / processes)))


def check_one_gpu_each(accelerator: str, devices: Iterable[str]) -> None:
    """Refuse parallel jobs that ask for several GPUs, or for a certain one: each job gets one.

    Raises:
        UserError: Naming the request of the first one.
    """
    others = [asked for asked in devices if asked not in ("1", "-1", "auto")]
    if others and accelerator != "cpu" and len(_gpus()) > 1:
        raise UserError(
            f"hydra/launcher=joblib gives each job one GPU: leave out trainer.devices={others[0]}, or the launcher."
        )


def take_a_gpu() -> None:
    """Give this process the GPU that the fewest jobs use, if there are several. Call it before torch looks for GPUs."""
    gpus = _gpus()
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()  # in a container, a user may have no name
    for slot in itertools.count() if len(gpus) > 1 else ():
        for gpu in gpus:
            name = f"digits-gpu-{user}-{gpu}-{slot}.lock"
            lock = Lock(Path(tempfile.gettempdir()) / name)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                continue
            atexit.register(lock.release)  # kept for later jobs of this process
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            return


def end_with_parent(seconds: float = 1.0) -> None:
    """Terminate this process, which then saves, once its parent process has ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SAVE_SECONDS)
        os._exit(128 + signal.SIGTERM)  # joblib's process would wait for the next job

    if not any(thread.name == watch.__qualname__ for thread in threading.enumerate()):
        threading.Thread(target=watch, name=watch.__qualname__, daemon=True).start()


def _memory() -> float:
    """Memory that this process may use, in bytes: the machine's, or less in a container."""
    limits = [math.inf]
    if hasattr(os, "sysconf"):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):  # no file, or the word max: no limit
        limits.append(int(CONTAINER_MEMORY.read_text(encoding="ascii")))
    return min(limits)


def _gpus() -> list[str]:
    """The CUDA devices that this process may use, as in CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(number) for number, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]

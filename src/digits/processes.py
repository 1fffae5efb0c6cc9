"""The processes of one training, which Lightning, torchrun or Slurm starts."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from digits.errors import UserError, shown

if TYPE_CHECKING:
    from digits.config import TrainConfig

RANK_VARIABLES = (
    # torchrun and Kubernetes
    "TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    # LSF
    "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE",
)  # fmt: skip
"""Environment variables from which Lightning concludes that a process is one of several."""

LAUNCHER = "DIGITS_LAUNCHER"
"""Environment variable with the process ID of a training whose other processes Lightning starts as children."""

SAVE_SECONDS = 10
"""How long a process may take to save after SIGTERM."""


def stop_children() -> None:
    """Terminate the processes that this one has started, and wait until they have saved and exited."""
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()  # SIGTERM
    for child in children:
        child.join(SAVE_SECONDS)


def launched_externally() -> tuple[int, int] | None:
    """Processes per machine and number of machines, if torchrun or Slurm started several processes for a training."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        per_node, world = (int(os.environ.get(name) or 1) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
        nodes = world // per_node
    elif "SLURM_STEP_ID" in os.environ:
        world, nodes = (int(os.environ.get(f"SLURM_{name}") or 1) for name in ("NTASKS", "NNODES"))
        per_node = world // nodes
    else:
        return None
    return (per_node, nodes) if world > 1 else None


@contextmanager
def marked_as_launcher() -> Iterator[None]:
    """Mark this process as the parent of the processes that Lightning starts within the block."""
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[LAUNCHER]


def has_ranks() -> bool:
    """Whether this is one of several processes of a training, so that the ranks in the environment are its own."""
    return bool(launched_externally()) or os.environ.get(LAUNCHER) == str(os.getppid())


def forget_other_launchers() -> None:
    """If this process is alone, remove the ranks that other launchers have left: Lightning would use them."""
    if has_ranks():
        return
    for name in RANK_VARIABLES:
        os.environ.pop(name, None)
    alone = {"NTASKS": "1", "NNODES": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in alone.items():
        if "SLURM_STEP_ID" not in os.environ:  # not started by srun
            os.environ.pop(f"SLURM_{name}", None)
        elif f"SLURM_{name}" in os.environ:  # kept: Lightning needs them to submit the job again
            os.environ[f"SLURM_{name}"] = value


def is_first() -> bool:
    """Whether this process has rank 0: the one that logs and writes files."""
    if not has_ranks():
        return True
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))  # in Lightning's order
    return next((rank for rank in ranks if rank is not None), "0") == "0"


def check(cfg: "TrainConfig", names_directory: bool) -> None:
    """Check that several machines have a launcher, and that launched processes train together, in one directory.

    Args:
        cfg: The configuration.
        names_directory: Whether the command line names the run directory.

    Raises:
        UserError: If one of these is not true.
    """
    launched = launched_externally()
    if not launched:
        if cfg.trainer.num_nodes > 1:
            raise UserError(
                f"trainer.num_nodes={cfg.trainer.num_nodes} would wait for processes on other machines, and nothing "
                "has started them: use torchrun or Slurm, which set it themselves."
            )
        by_slurm = "SLURM_STEP_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")
        if by_slurm and cfg.trainer.devices not in ("auto", 1, "1"):  # Lightning would train on one of them
            raise UserError(
                f"trainer.devices={shown(cfg.trainer.devices)} needs a process for each, and srun has started one: use "
                "srun --ntasks-per-node=NUMBER and trainer=ddp, without trainer.devices."
            )
        return
    if cfg.trainer.strategy != "ddp" or cfg.trainer.devices != "auto":
        number = launched[0] * launched[1]
        raise UserError(
            f"{number} processes were started for one training: add trainer=ddp, without trainer.devices. "
            "For several trainings, start one process: a sweep, such as -m seed=0,1,2,3 hydra/launcher=slurm."
        )
    if not names_directory:
        raise UserError("several processes are one training, in one directory: add hydra.run.dir=outputs/NAME.")

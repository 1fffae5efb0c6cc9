"""The processes of one training: started by Lightning, torchrun or Slurm."""

import multiprocessing
import os
import signal
from typing import TYPE_CHECKING

from digits.errors import UserError

if TYPE_CHECKING:
    from digits.config import TrainConfig

SAVE_SECONDS = 10
"""How long a process may take to save after SIGTERM."""


def stop_children() -> None:
    """Terminate the processes that this one has started, and wait until they have saved and exited."""
    children = multiprocessing.active_children()
    for child in children:
        if child.pid:
            os.kill(child.pid, signal.SIGTERM)
    for child in children:
        child.join(SAVE_SECONDS)


def launched_externally() -> tuple[int, int] | None:
    """Processes per machine and number of machines, if torchrun or Slurm has started several for one training."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        per_node, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        nodes = world // per_node
    elif "SLURM_STEP_ID" in os.environ:
        world, nodes = (int(os.environ.get(f"SLURM_{name}", 1)) for name in ("NTASKS", "NNODES"))
        per_node = world // nodes
    else:
        return None
    return (per_node, nodes) if world > 1 else None


def is_first() -> bool:
    """Whether this process has rank 0: the one that logs and writes files."""
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))  # in Lightning's order
    return next((rank for rank in ranks if rank is not None), "0") == "0"


def check(cfg: "TrainConfig", asked: bool) -> None:
    """Check that processes started by torchrun or Slurm train together, in one directory.

    Args:
        cfg: The configuration.
        asked: Whether the command line names the run directory.

    Raises:
        UserError: If they do not.
    """
    launched = launched_externally()
    if not launched:
        return
    if cfg.trainer.strategy != "ddp" or cfg.trainer.devices != "auto":
        number = launched[0] * launched[1]
        raise UserError(f"{number} processes were started for one training: add trainer=ddp, without trainer.devices.")
    if not asked:
        raise UserError("several processes are one training, in one directory: add hydra.run.dir=outputs/NAME.")

"""Checks a run before Hydra creates its directory: its configuration, its processes, and the directory itself."""

import copy
import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from digits import processes
from digits.config import TrainConfig
from digits.errors import UserError, first_line
from digits.runs.run import Run
from digits.runs.start_from import pin
from digits.signals import exit_on_error
from digits.validation import resolve


class Check(Callback):
    """Checks a single run before Hydra creates its directory. Hydra instantiates it from ``conf/train.yaml``.

    Attributes:
        checked: The checked configuration of this process's run, for the function that Hydra calls next.
        done: Whether the run, or the whole sweep, is finished. The command sets it after a single run, `Sweep` after
            a whole sweep.
    """

    checked: TrainConfig | None = None
    done = False

    @exit_on_error()  # Hydra would turn an error into a warning
    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the configuration, the number of processes and the run directory."""
        HydraConfig.instance().set_config(config)  # for ${hydra:…} in values
        job = copy.deepcopy(config)
        with read_write(job), open_dict(job):
            del job["hydra"]
        Check.checked = resolve(job)
        directory = check_directory(config, "hydra.run.dir")
        names_directory = any(word.startswith("hydra.run.dir=") for word in config.hydra.overrides.hydra)
        processes.check(Check.checked, names_directory)
        run = Run(directory)
        pin(Check.checked, run)
        run.check(Check.checked)
        if processes.is_first() and run.is_locked():
            raise UserError(f"another process is training in {directory}; choose another hydra.run.dir.")


def check_directory(cfg: DictConfig, key: str) -> Path:
    """Check that the directory that a key names can be created and written, and return it.

    Raises:
        UserError: If it cannot.
    """
    try:
        given = str(OmegaConf.select(cfg, key))
    except OmegaConfBaseException as error:
        raise UserError(f"{key}: {first_line(error)}.") from error
    if not given:
        raise UserError(f"{key} is empty; it has to name a directory.")
    directory = Path(given).absolute()
    existing = next(path for path in (directory, *directory.parents) if os.path.lexists(path))
    if not existing.is_dir():
        kind = "a link to nothing" if existing.is_symlink() and not existing.exists() else "not a directory"
        raise UserError(f"the directory {directory} cannot be created: {existing} is {kind}.")
    if not os.access(existing, os.W_OK):
        action = "written" if existing == directory else "created"
        raise UserError(f"the directory {directory} cannot be {action}: Permission denied.")
    log = directory / "train.log"
    if log.exists() and not os.access(log, os.W_OK):
        raise UserError(f"{log} cannot be written: Permission denied.")
    return directory

"""A search over hyperparameters: Optuna chooses them, every trial is an ordinary run directory.

A search resumes where it stopped, and several processes may share it: its trials are in a journal in its directory.
With several seeds, a trial is the mean of as many trainings. The best of many means is partly luck, so its
configuration is then trained with fresh seeds.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digits.config import TrainConfig
from digits.errors import UserError, first_line
from digits.locks import Lock
from digits.overrides import compose, config_directory
from digits.runs.files import as_json, save, writing
from digits.sweeps import plan, space
from digits.sweeps.space import SearchConfig
from digits.sweeps.study import check_installed, open_study, sampler
from digits.sweeps.trial import run_trial, seeds_of, trainings_of
from digits.validation import check_ranges, resolve

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)


def read(name: Path | str) -> SearchConfig:
    """Read the file of a search.

    Args:
        name: The file, or the name of one in ``conf/search``.

    Raises:
        UserError: If it does not exist, or is wrong; or if Optuna is not installed.
    """
    check_installed()
    path = Path(name)
    if not path.suffix:
        path = config_directory() / "search" / f"{name}.yaml"
    try:
        content = OmegaConf.load(path)
        cfg = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SearchConfig), content))
    except FileNotFoundError as error:
        raise UserError(f"there is no search space {path}.") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{path} is not a search space: {first_line(error)}.") from error
    except (OSError, ValueError, yaml.YAMLError) as error:  # YAML's messages name the place in a later line
        raise UserError(f"{path} is not a search space: {' '.join(str(error).split()):.200}") from error
    assert isinstance(cfg, SearchConfig)
    check_ranges(cfg)
    if not cfg.space:
        raise UserError(f"{path} has nothing in its space.")
    if cfg.seeds > 1 and "seed" in cfg.space:
        raise UserError(f"{path}: seed is in the space, and seeds={cfg.seeds} chooses the seeds; leave one out.")
    for key in cfg.space:
        if key.partition(".")[0] == "hydra":
            raise UserError(f"{path}: {key} belongs to Hydra, and not to a trial.")
    space.parse(cfg.space)
    return cfg


def search(cfg: SearchConfig, overrides: Sequence[str], directory: Path) -> "optuna.Study":
    """Search, or resume a search, until it has its number of trials.

    Args:
        cfg: The search.
        overrides: Overrides of every trial, such as ``model=compact``.
        directory: Directory of the trials' run directories, each named by its number.

    Returns:
        The study, with all trials.

    Raises:
        UserError: If the directory holds another search, or a trial is not possible.
    """
    check_installed()
    distributions = space.parse(cfg.space)
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.startswith(("hydra.", "hydra/")):
            raise UserError(f"{override}: a search takes no keys of Hydra; --output names its directory.")
        if key in cfg.space:
            raise UserError(f"{override}: the space has that key, so its trials choose it; leave it out.")
    for sample in space.samples(distributions):  # a mistake in the space is reported before anything is trained
        _check_trial(resolve(compose(*overrides, *sample)))
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with Lock(directory / ".lock"):
        _claim(cfg, overrides, directory)
        study = open_study(directory, cfg.pruner)
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(_own_values(distributions, overrides))
    seeds = seeds_of(cfg, overrides)
    while True:
        with _next_trial(study, cfg, distributions, directory) as trial:
            if trial is None:
                break
            chosen = space.overrides(trial.params)
            trainings = trainings_of([*overrides, *chosen], trial.number, seeds)
            outcome = _outcome(study, run_trial(trial, trainings, directory))
            log.info("Trial %d of %d, %s: %s", trial.number + 1, cfg.trials, " ".join(chosen), outcome)
    jobs: dict[int, list[str]] = {}
    for each in study.get_trials():
        jobs |= trainings_of([*overrides, *space.overrides(each.params)], each.number, seeds)
    begun = {number: words for number, words in jobs.items() if (directory / str(number)).exists()}
    plan.write_plan(directory, begun)
    return study


def _claim(cfg: SearchConfig, overrides: Sequence[str], directory: Path) -> None:
    """Assign the directory to this search, which may resume with more trials, but with no other change."""
    identity = {**asdict(cfg), "overrides": list(overrides)}
    del identity["trials"]
    path = directory / plan.SEARCH_FILE
    if not path.exists():
        save(path, as_json(identity))
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(before, dict):
            raise ValueError("not written by a search")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); choose another --output.") from error
    for name, now in json.loads(json.dumps(identity)).items():
        if (then := before.get(name)) != now:
            difference = f"{name}={then} instead of {now}" if isinstance(now, int) else f"another {name}"
            raise UserError(f"{directory} holds another search, with {difference}. Choose another --output.")


@contextmanager
def _next_trial(
    study: "optuna.Study", cfg: SearchConfig, distributions: space.Space, directory: Path
) -> Iterator["optuna.Trial | None"]:
    """Yield a trial that a killed process left unfinished, or else a new one; None at the end of the search."""
    import optuna

    states = optuna.trial.TrialState
    trial = None
    with ExitStack() as locks:
        with Lock(directory / ".lock"):
            trials = study.get_trials(deepcopy=False)
            for abandoned in trials:
                if abandoned.state == states.RUNNING and _lock(directory / str(abandoned.number * cfg.seeds), locks):
                    trial = optuna.Trial(study, abandoned._trial_id)
                    break
            else:
                if sum(each.state != states.WAITING for each in trials) < cfg.trials:
                    trial = study.ask()
                    _lock(directory / str(trial.number * cfg.seeds), locks)
            if trial:
                study.sampler = sampler(cfg.sampler, cfg.seed, trial.number)
                for key, distribution in distributions.items():  # keeps values that an unfinished trial has chosen
                    trial._suggest(key, distribution)
        yield trial


def _own_values(distributions: space.Space, overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration's own values for the first trial, as far as the space contains them."""
    cfg = compose(*overrides)
    own = {key: OmegaConf.select(cfg, key) for key in distributions}
    return {key: value for key, value in own.items() if space.contains(distributions[key], value)}


def _lock(directory: Path, locks: ExitStack) -> bool:
    """Lock a trial's directory until the end of a context; False if another process has locked it."""
    directory.mkdir(exist_ok=True)
    lock = Lock(directory / ".trial")
    try:
        locks.enter_context(lock.acquire(timeout=0))
    except filelock.Timeout:
        return False
    return True


def _outcome(study: "optuna.Study", outcome: float | str) -> str:
    try:
        best = f"; the best so far: {100 * study.best_value:.2f} %, trial {study.best_trial.number + 1}"
    except ValueError:
        best = ""
    return (outcome if isinstance(outcome, str) else f"validation {100 * outcome:.2f} %") + best


def _check_trial(cfg: TrainConfig) -> None:
    if cfg.trainer.devices not in (1, "1") or cfg.trainer.strategy != "auto":
        raise UserError("digits search trains in one process: leave trainer.devices=1 and trainer.strategy=auto.")
    if cfg.data.val_size == 0:
        raise UserError("digits search compares validation accuracies, and data.val_size=0 leaves none.")

"""A search over hyperparameters: Optuna chooses them, every trial is an ordinary run directory.

A search goes on where it stopped, and several processes may share it: its trials are in a journal in its directory.
"""

import json
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import filelock
import hydra
import yaml
from annotated_types import Ge
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digits.config import Seed, TrainConfig
from digits.errors import RunError, UserError, first_line
from digits.model.geometry import OneOf
from digits.overrides import compose, config_directory, initialize_hydra
from digits.runs.files import as_json, save
from digits.runs.results import PRUNED, Results
from digits.runs.run import IGNORED_KEYS, Run
from digits.sweeps import plan, space
from digits.sweeps.study import check_installed, open_study, sampler
from digits.sweeps.trial import OtherDataError, Report, logged_to
from digits.training import train as training
from digits.training.callbacks import DivergedError
from digits.validation import check_ranges, resolve

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

FACTS, EXPERIMENT = "search.json", "experiment/best.yaml"


@dataclass
class SearchConfig:
    """What a file in ``conf/search`` says.

    Attributes:
        space: For each key, a list of values, or ``low`` and ``high`` of a range, with ``log: true`` where it is the
            ratio that counts. Whole numbers on both ends make it a range of whole numbers.
    """

    space: dict[str, Any] = field(default_factory=dict)
    trials: Annotated[int, Ge(1), "number of trials, including those of other processes"] = 27
    sampler: Annotated[str, OneOf("tpe", "random"), "how the next trial is chosen"] = "tpe"
    pruner: Annotated[str, OneOf("asha", "median", "none"), "which trials are stopped early"] = "asha"
    seed: Annotated[Seed, "seed of the sampler"] = 0


def read(name: Path | str) -> SearchConfig:
    """Read the file of a search.

    Args:
        name: The file, or the name of one in ``conf/search``.

    Raises:
        UserError: If there is none, or it is wrong.
    """
    path = Path(name)
    if not path.suffix:
        path = config_directory() / "search" / f"{name}.yaml"
    try:
        content = OmegaConf.load(path)
        cfg = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SearchConfig), content))
    except FileNotFoundError as error:
        raise UserError(f"there is no search space {path}.") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{path} is no search space: {first_line(error)}.") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is no search space: {' '.join(str(error).split()):.200}") from error
    assert isinstance(cfg, SearchConfig)
    check_ranges(cfg)
    if not cfg.space:
        raise UserError(f"{path} has nothing in its space.")
    for searched in cfg.space:
        if searched.partition(".")[0] == "hydra":
            raise UserError(f"{path}: {searched} is Hydra's, and not of a trial.")
    space.parsed(cfg.space)
    return cfg


def search(cfg: SearchConfig, overrides: Sequence[str], directory: Path) -> "optuna.Study":
    """Search, or go on with a search, until it has as many trials as it is to have.

    Args:
        cfg: What is searched.
        overrides: Words that hold for every trial, such as ``model=compact``.
        directory: Where the trials go, each in the directory of its number.

    Returns:
        The study, with all trials.

    Raises:
        UserError: If the directory holds another search, or a trial cannot be.
    """
    check_installed()
    searched = space.parsed(cfg.space)
    for override in overrides:
        if override.startswith("hydra."):
            raise UserError(f"{override}: a search has its own directories; --output says where.")
        if override.partition("=")[0] in cfg.space:
            raise UserError(f"{override}: the space has that key, so its trials choose it; leave it out.")
    for words in space.samples(searched):  # what is wrong with the space is told before anything is trained
        _check_one_process(resolve(compose(*overrides, *words)))
    _claim(cfg, overrides, directory)
    study = open_study(directory, cfg.pruner)
    with filelock.FileLock(directory / ".lock"):
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(_as_it_is(searched, overrides))
    while True:
        with _next(study, cfg, searched, directory) as trial:
            if trial is None:
                break
            chosen = space.words(trial.params)
            told = _told(study, _try(study, trial, [*overrides, *chosen], directory / str(trial.number)))
            log.info("Trial %d of %d, %s: %s", trial.number + 1, cfg.trials, " ".join(chosen), told)
    plan.write_plan(directory, [[*overrides, *space.words(trial.params)] for trial in study.get_trials()])
    return study


def write_experiment(study: "optuna.Study", overrides: Sequence[str], directory: Path) -> Path | None:
    """Write the best trial as an experiment that repeats it: what its choices of groups leave to say.

    Returns:
        The file; None if no trial has finished.
    """
    try:
        words = [*overrides, *space.words(study.best_trial.params)]
    except ValueError:
        return None
    with initialize_hydra():
        hydra_config = hydra.compose("train", words, return_hydra_config=True).hydra
    choices = {
        group: choice
        for group, choice in hydra_config.runtime.choices.items()
        if "/" not in group and group not in ("experiment", "debug") and choice
    }
    chosen = _plain([f"{group}={choice}" for group, choice in choices.items()])
    delta = _difference(chosen, _plain(words))
    defaults = [{f"override /{group}": choice} for group, choice in choices.items()]
    text = yaml.safe_dump({"defaults": defaults, **delta}, sort_keys=False)
    head = f"# @package _global_\n# python train.py --config-dir {shlex.quote(str(directory))} experiment=best\n"
    return save(directory / EXPERIMENT, head + text)


def _claim(cfg: SearchConfig, overrides: Sequence[str], directory: Path) -> None:
    """Make the directory one of this search; it may go on with more trials, and with nothing else changed."""
    facts = {"space": cfg.space, "sampler": cfg.sampler, "pruner": cfg.pruner, "seed": cfg.seed}
    facts["overrides"] = list(overrides)
    path = directory / FACTS
    if not path.exists():
        save(path, as_json(facts))
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(before, dict):
            raise ValueError("it is not what a search writes")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); choose another --output.") from error
    changed = [name for name in facts if before.get(name) != json.loads(json.dumps(facts[name]))]
    if changed:
        raise UserError(f"{directory} holds another search, with another {changed[0]}. Choose another --output.")


@contextmanager
def _next(
    study: "optuna.Study", cfg: SearchConfig, searched: space.Space, directory: Path
) -> Iterator["optuna.Trial | None"]:
    """The next trial, first one that a process left unfinished, for as long as this one is at it; None at the end."""
    import optuna

    lock = None
    with filelock.FileLock(directory / ".lock"):
        trial: optuna.Trial | None = None
        trials = study.get_trials(deepcopy=False)
        for left in trials:
            if left.state == optuna.trial.TrialState.RUNNING and (lock := _hold(directory / str(left.number))):
                trial = optuna.Trial(study, left._trial_id)
                break
        begun = [other for other in trials if other.state != optuna.trial.TrialState.WAITING]
        if trial is None and len(begun) < cfg.trials:
            trial = study.ask()
            lock = _hold(directory / str(trial.number))
        if trial is not None:
            study.sampler = sampler(cfg.sampler, cfg.seed, trial.number)
            _ = trial.relative_params  # what is chosen together, once there are trials to learn from
            for place, (name, values) in enumerate(searched.items()):
                study.sampler = sampler(cfg.sampler, cfg.seed, trial.number, place)
                values.suggest(trial, name)
    try:
        yield trial
    finally:
        if lock:
            lock.release()


def _as_it_is(searched: space.Space, overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration's own values of the keys, for the first trial; those that are in the space."""
    cfg = compose(*overrides)
    own = {name: OmegaConf.select(cfg, name) for name in searched}
    return {name: value for name, value in own.items() if searched[name].has(value)}


def _hold(directory: Path) -> filelock.BaseFileLock | None:
    directory.mkdir(exist_ok=True)
    lock = filelock.FileLock(directory / ".trial")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return None
    return lock


def _try(study: "optuna.Study", trial: "optuna.Trial", words: list[str], directory: Path) -> Results | str:
    """Train with a trial's hyperparameters, and tell Optuna; what came of it, or why nothing."""
    import optuna

    run = Run(directory)
    try:
        with logged_to(directory):
            results = training.train(compose("report=false", *words), directory, callbacks=[Report(trial)])
    except optuna.TrialPruned:
        best = max(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values.items())
        told = f"given up after epoch {best[0]}, at {100 * best[1]:.2f} %"
        run.write_state(PRUNED, told)
        study.tell(trial.number, state=optuna.trial.TrialState.PRUNED)
        return told
    except Exception as error:
        if isinstance(error, RunError | OSError | OtherDataError) and not isinstance(error, DivergedError):
            raise  # of the machine, not of this trial
        if not run.results_file.exists():  # it did not come to training
            run.write_failure(error)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return f"failed: {' '.join(str(error).split()):.200}"
    study.tell(trial.number, results.metric)
    return results


def _told(study: "optuna.Study", outcome: Results | str) -> str:
    try:
        best = f"; the best so far: {100 * study.best_value:.2f} %, trial {study.best_trial.number + 1}"
    except ValueError:
        best = ""
    return (outcome if isinstance(outcome, str) else f"validation {100 * outcome.metric:.2f} %") + best


def _plain(words: Sequence[str]) -> dict[str, Any]:
    return asdict(resolve(compose("report=false", *words)))


def _difference(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """What of a configuration another does not say, as nested keys; a list is one value."""
    changed: dict[str, Any] = {}
    for name, value in now.items():
        if isinstance(value, Mapping) and isinstance(before.get(name), Mapping):
            if inner := _difference(before[name], value, f"{prefix}{name}."):
                changed[name] = inner
        elif value != before.get(name) and f"{prefix}{name}" not in IGNORED_KEYS:
            changed[name] = value
    return changed


def _check_one_process(cfg: TrainConfig) -> None:
    if cfg.trainer.devices not in (1, "1") or cfg.trainer.strategy != "auto":
        raise UserError("digits search trains in one process: leave trainer.devices=1 and trainer.strategy=auto.")
    if cfg.data.val_size == 0:
        raise UserError("digits search compares validation accuracies, and data.val_size=0 leaves none.")

"""A search over hyperparameters: Optuna chooses them, every trial is an ordinary run directory.

A search resumes where it stopped, and several processes may share it: its trials are in a journal in its directory.
"""

import json
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import hydra
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digits.config import TrainConfig
from digits.errors import RunError, UserError, first_line
from digits.overrides import compose, config_directory, initialize_hydra, null_groups_deleted
from digits.processes import Lock
from digits.runs.files import as_json, save, writing
from digits.runs.results import PRUNED, Results
from digits.runs.run import IGNORED_KEYS, Run
from digits.runs.start import pin, siblings
from digits.sweeps import plan, space
from digits.sweeps.space import SearchConfig
from digits.sweeps.study import check_installed, open_study, sampler
from digits.sweeps.trial import OtherDataError, Report, logged_to
from digits.training import train as training
from digits.training.callbacks import DivergedError
from digits.validation import check_ranges, resolve

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

FACTS, EXPERIMENT = "search.json", "experiment/best.yaml"


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
    except (OSError, ValueError, yaml.YAMLError) as error:  # those of YAML say where only in later lines
        raise UserError(f"{path} is not a search space: {' '.join(str(error).split()):.200}") from error
    assert isinstance(cfg, SearchConfig)
    check_ranges(cfg)
    if not cfg.space:
        raise UserError(f"{path} has nothing in its space.")
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
        _check_one_process(resolve(compose(*overrides, *sample)))
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with Lock(directory / ".lock"):
        _claim(cfg, overrides, directory)
        study = open_study(directory, cfg.pruner)
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(_own_values(distributions, overrides))
    while True:
        with _next_trial(study, cfg, distributions, directory) as trial:
            if trial is None:
                break
            chosen = space.overrides(trial.params)
            outcome = _outcome(study, _run(study, trial, [*overrides, *chosen], directory / str(trial.number)))
            log.info("Trial %d of %d, %s: %s", trial.number + 1, cfg.trials, " ".join(chosen), outcome)
    plan.write_plan(directory, [[*overrides, *space.overrides(trial.params)] for trial in study.get_trials()])
    return study


def write_experiment(study: "optuna.Study", overrides: Sequence[str], directory: Path) -> Path | None:
    """Write the best trial as an experiment that repeats it: its choices of groups, and the values that differ.

    Returns:
        The file; None if no trial has finished.
    """
    try:
        best = [*overrides, *space.overrides(study.best_trial.params)]
    except ValueError:
        return None
    with initialize_hydra():
        hydra_config = hydra.compose("train", null_groups_deleted(best), return_hydra_config=True).hydra
    choices = {
        group: choice
        for group, choice in hydra_config.runtime.choices.items()
        if "/" not in group and group not in ("experiment", "debug") and choice
    }
    chosen = _plain([f"{group}={choice}" for group, choice in choices.items()])
    delta = _difference(chosen, _plain(best))
    defaults = [{f"override /{group}": choice} for group, choice in choices.items()]
    text = yaml.safe_dump({"defaults": defaults, **delta}, sort_keys=False)
    head = f"# @package _global_\n# digits train --config-dir {shlex.quote(str(directory))} experiment=best\n"
    return save(directory / EXPERIMENT, head + text)


def _claim(cfg: SearchConfig, overrides: Sequence[str], directory: Path) -> None:
    """Make the directory one of this search. It may resume with more trials, and nothing else changed."""
    facts = {**asdict(cfg), "overrides": list(overrides)}
    del facts["trials"]
    path = directory / FACTS
    if not path.exists():
        save(path, as_json(facts))
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(before, dict):
            raise ValueError("not written by a search")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); choose another --output.") from error
    changed = [name for name in facts if before.get(name) != json.loads(json.dumps(facts[name]))]
    if changed:
        raise UserError(f"{directory} holds another search, with another {changed[0]}. Choose another --output.")


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
            for left in trials:
                if left.state == states.RUNNING and _lock(directory / str(left.number), locks):
                    trial = optuna.Trial(study, left._trial_id)
                    break
            else:
                if sum(each.state != states.WAITING for each in trials) < cfg.trials:
                    trial = study.ask()
                    _lock(directory / str(trial.number), locks)
            if trial:
                study.sampler = sampler(cfg.sampler, cfg.seed, trial.number)
                for key, distribution in distributions.items():  # keeps values that an unfinished trial has chosen
                    trial._suggest(key, distribution)
        yield trial


def _own_values(distributions: space.Space, overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration's own values, for the first trial; those that the space contains."""
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


def _run(study: "optuna.Study", trial: "optuna.Trial", overrides: list[str], directory: Path) -> Results | str:
    """Train with a trial's hyperparameters, and report to Optuna; the results, or why there are none."""
    import optuna

    run = Run(directory)
    try:
        with logged_to(directory):
            cfg = resolve(compose("report=false", *overrides))
            pin(cfg, run, siblings(run))
            results = training.train(cfg, directory, callbacks=[Report(trial)])
    except optuna.TrialPruned:
        epoch, accuracy = max(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values.items())
        reason = f"given up after epoch {epoch}, at {100 * accuracy:.2f} %"
        run.write_state(PRUNED, reason)
        study.tell(trial.number, state=optuna.trial.TrialState.PRUNED)
        return reason
    except Exception as error:
        if isinstance(error, RunError | OSError | OtherDataError) and not isinstance(error, DivergedError):
            raise  # a fault of the machine, not of this trial
        if not run.results_file.exists():  # refused before the training
            run.write_failure(error)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return f"failed: {' '.join(str(error).split()):.200}"
    study.tell(trial.number, results.metric)
    return results


def _outcome(study: "optuna.Study", outcome: Results | str) -> str:
    try:
        best = f"; the best so far: {100 * study.best_value:.2f} %, trial {study.best_trial.number + 1}"
    except ValueError:
        best = ""
    return (outcome if isinstance(outcome, str) else f"validation {100 * outcome.metric:.2f} %") + best


def _plain(overrides: Sequence[str]) -> dict[str, Any]:
    return asdict(resolve(compose(*overrides)))


def _difference(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a configuration that another one does not have, as nested keys; a list is one value."""
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

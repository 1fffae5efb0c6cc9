"""A search over hyperparameters: Optuna chooses them, every trial is an ordinary run directory.

A search resumes where it stopped, and several processes may share it: its trials are in a journal in its directory.
With several seeds, a trial is the mean of as many trainings. The best of many means is partly luck, so its
configuration is then trained with fresh seeds.
"""

import json
import logging
import shlex
import statistics
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
from digits.errors import UserError, first_line
from digits.locks import Lock
from digits.overrides import compose, config_directory, initialize_hydra, null_groups_deleted
from digits.runs.files import as_json, save, writing
from digits.runs.results import Results
from digits.runs.run import IGNORED_KEYS
from digits.sweeps import plan, space
from digits.sweeps.space import SearchConfig
from digits.sweeps.study import check_installed, open_study, sampler
from digits.sweeps.trial import run_trial, train_job
from digits.training.callbacks import DivergedError
from digits.validation import check_ranges, resolve

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

EXPERIMENT, FRESH = "experiment/best.yaml", "fresh"


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
            outcome = _outcome(study, run_trial(trial, jobs_of([*overrides, *chosen], trial.number, seeds), directory))
            log.info("Trial %d of %d, %s: %s", trial.number + 1, cfg.trials, " ".join(chosen), outcome)
    jobs: dict[int, list[str]] = {}
    for each in study.get_trials():
        jobs |= jobs_of([*overrides, *space.overrides(each.params)], each.number, seeds)
    begun = {number: words for number, words in jobs.items() if (directory / str(number)).exists()}
    plan.write_plan(directory, begun)
    return study


def train_winner(study: "optuna.Study", cfg: SearchConfig, overrides: Sequence[str], directory: Path) -> list[Results]:
    """Train the best trial's configuration with fresh seeds, as many as a trial has; they took no part in its choice.

    Returns:
        The results, one per seed, without those that diverged; none while another process still searches, or if no
        trial has finished.
    """
    trials = study.get_trials(deepcopy=False)
    if any(trial.state.name == "RUNNING" for trial in trials):
        log.info("Another process still searches; the last one trains the best trial with fresh seeds.")
        return []
    if not any(trial.state.name == "COMPLETE" for trial in trials):
        return []
    best = study.best_trial
    fresh = [seed + cfg.seeds for seed in seeds_of(cfg, overrides)]
    jobs = jobs_of([*overrides, *space.overrides(best.params)], best.number, fresh)
    log.info("The best trial once more, with the fresh seeds %s", ", ".join(map(str, fresh)))
    results = []
    for number, words in jobs.items():
        try:
            results.append(train_job(words, directory / FRESH / str(number)))
        except DivergedError as error:
            log.warning("%s: %s", words[-1], error)
    return results


def seeds_of(cfg: SearchConfig, overrides: Sequence[str]) -> list[int]:
    """Consecutive seeds for each trial, from the configuration's own on; none if a trial is a single training."""
    if cfg.seeds == 1:
        return []
    start = compose(*overrides).seed
    return [start + number for number in range(cfg.seeds)]


def jobs_of(overrides: Sequence[str], trial: int, seeds: Sequence[int]) -> dict[int, list[str]]:
    """The trainings of a trial: the overrides of each, by the number that names its directory."""
    if not seeds:
        return {trial: list(overrides)}
    words = [word for word in overrides if not word.startswith("seed=")]
    return {trial * len(seeds) + number: [*words, f"seed={seed}"] for number, seed in enumerate(seeds)}


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


def fresh_text(study: "optuna.Study", seeds: int, fresh: Sequence[Results]) -> str:
    """State the best trial's metric with the seeds that chose it, and with the fresh ones."""
    metrics = [100 * results.metric for results in fresh]
    tested = statistics.fmean(100 * results.test_accuracy for results in fresh)
    return (
        f"Best trial: validation {100 * study.best_value:.2f} % with the {seeds} seeds that chose it, and "
        f"{statistics.fmean(metrics):.2f} % ({min(metrics):.2f} to {max(metrics):.2f}) with {len(fresh)} fresh ones. "
        f"Expect the second; its test accuracy is {tested:.2f} %."
    )


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
    before = {"seeds": 1, **before}  # a search of an earlier version has one seed
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


def _check_trial(cfg: TrainConfig) -> None:
    if cfg.trainer.devices not in (1, "1") or cfg.trainer.strategy != "auto":
        raise UserError("digits search trains in one process: leave trainer.devices=1 and trainer.strategy=auto.")
    if cfg.data.val_size == 0:
        raise UserError("digits search compares validation accuracies, and data.val_size=0 leaves none.")

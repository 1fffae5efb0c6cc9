"""The best trial of a search: trained with fresh seeds, and written as an experiment that repeats it."""

import logging
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import yaml

from digits.errors import DivergedError
from digits.overrides import compose, initialize_hydra, null_groups_deleted
from digits.runs.files import save
from digits.runs.results import Results
from digits.runs.run import IGNORED_KEYS
from digits.sweeps import space
from digits.sweeps.space import SearchConfig
from digits.sweeps.trial import seeds_of, train_job, trainings_of
from digits.validation import resolve

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

EXPERIMENT, FRESH = "experiment/best.yaml", "fresh"


def train_winner(study: "optuna.Study", cfg: SearchConfig, overrides: Sequence[str], directory: Path) -> list[Results]:
    """Train the best trial's configuration with fresh seeds, as many as a trial has; they took no part in its choice.

    Returns:
        The results, one per seed, without those that diverged; none while another process still searches.
    """
    if any(trial.state.name == "RUNNING" for trial in study.get_trials(deepcopy=False)):
        log.info("Another process still searches; the last one trains the best trial with fresh seeds.")
        return []
    best = study.best_trial
    fresh = [seed + cfg.seeds for seed in seeds_of(cfg, overrides)]
    jobs = trainings_of([*overrides, *space.overrides(best.params)], best.number, fresh)
    log.info("The best trial once more, with the fresh seeds %s", ", ".join(map(str, fresh)))
    results = []
    for number, words in jobs.items():
        try:
            results.append(train_job(words, directory / FRESH / str(number)))
        except DivergedError as error:
            log.warning("%s: %s", words[-1], error)
    return results


def fresh_text(study: "optuna.Study", seeds: int, fresh: Sequence[Results]) -> str:
    """State the best trial's metric with the seeds that chose it, and with the fresh ones."""
    metrics = [100 * results.metric for results in fresh]
    tested = statistics.fmean(100 * results.test_accuracy for results in fresh)
    return (
        f"Best trial: validation {100 * study.best_value:.2f} % with the {seeds} seeds that chose it, and "
        f"{statistics.fmean(metrics):.2f} % ({min(metrics):.2f} to {max(metrics):.2f}) with {len(fresh)} fresh ones. "
        f"Expect the second; its test accuracy is {tested:.2f} %."
    )


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

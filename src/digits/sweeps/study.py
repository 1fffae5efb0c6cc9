"""Optuna's study of a search, in a journal in the search's directory, which several processes share."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from digits.errors import UserError
from digits.locks import Lock

if TYPE_CHECKING:
    import optuna

FILE = "study.journal"
FEWEST_TRIALS = 5  # with fewer, the importance of a key cannot be estimated
REDUCTION = 3  # of the trials that reach epoch 1, 3, 9, …, one in three continues
STARTUP_TRIALS = 6  # chosen at random, before TPE learns from them; Optuna's 10 leave little of a short search


def check_installed() -> None:
    """Check that Optuna is installed, and limit its log to warnings.

    Raises:
        UserError: If it is missing; the message names the package to install.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UserError("digits search needs a package that is not installed: pip install optuna.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(directory: Path, pruner: str) -> "optuna.Study":
    """Open the study of a search, or create it.

    Args:
        directory: The search's directory.
        pruner: ``asha`` (Li et al., 2020, https://arxiv.org/abs/1810.05934), ``median`` or ``none``.

    Raises:
        UserError: If the journal is not one of Optuna's.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    pruners = {
        "asha": optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION),
        "median": optuna.pruners.MedianPruner(n_startup_trials=3),
        "none": optuna.pruners.NopPruner(),
    }
    journal = directory / FILE
    lock = Lock(directory / ".journal")  # Optuna's own lock stays locked if its process is killed
    try:
        with lock:
            _drop_incomplete_line(journal)
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal), cast(Any, lock))),
            study_name="search",
            direction="maximize",
            pruner=pruners[pruner],
            load_if_exists=True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{journal} cannot be read ({error!r:.100}); choose another --output.") from error


def _drop_incomplete_line(journal: Path) -> None:
    """Remove the line that a killed process left incomplete: Optuna would append the next one to it."""
    content = journal.read_bytes() if journal.exists() else b""
    if content and not content.endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def sampler(kind: str, seed: int, number: int) -> "optuna.samplers.BaseSampler":
    """The sampler of one trial, ``tpe`` or ``random``. Seeded per trial, so a resumed search repeats no choices."""
    import optuna

    seed = (seed * 1_000_003 + number) % 2**32
    if kind == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)


def importances(study: "optuna.Study") -> dict[str, float]:
    """Estimate which fraction of the variance between trials each key explains, by a random forest (fANOVA).

    Uses the accuracy after the first epoch, which all trials reach. Empty with too few trials.
    """
    import optuna

    trials = [
        optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=reported[1])
        for trial in study.get_trials()
        if 1 in (reported := trial.intermediate_values)
    ]
    if len(trials) < FEWEST_TRIALS or len({trial.value for trial in trials}) < 2:
        return {}
    after_one_epoch = optuna.create_study(direction="maximize")
    after_one_epoch.add_trials(trials)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(after_one_epoch, evaluator=evaluator)
    return {key: round(fraction, 4) for key, fraction in found.items()}

"""What a search remembers: Optuna's study, in a journal in the search's directory, which several processes share."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import filelock

from digits.errors import UserError

if TYPE_CHECKING:
    import optuna

FILE = "study.journal"
FEWEST = 5  # trials from which it can be said what mattered
REDUCTION = 3  # of the trials that have come to epoch 1, 3, 9, …, one of so many goes on
RANDOM = 6  # trials before those that learn from others; of Optuna's own 10, a short search has few left


def check_installed() -> None:
    """Say what to install where Optuna is not."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UserError("digits search needs a package that is not installed: pip install optuna.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(directory: Path, pruner: str) -> "optuna.Study":
    """Open the study of a directory, a new one or what there is of it.

    Args:
        directory: The search's.
        pruner: ``asha``, ``median`` or ``none``.

    Raises:
        UserError: If its journal is none.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    chosen = {
        "asha": _halving,
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=3),
        "none": optuna.pruners.NopPruner,
    }[pruner]()
    journal, lock = directory / FILE, directory / ".journal"
    try:
        with filelock.FileLock(lock):
            _cut_off_what_is_torn(journal)
        return optuna.create_study(
            # Optuna's own lock would outlive a process that is killed with it.
            storage=optuna.storages.JournalStorage(
                JournalFileBackend(str(journal), cast(Any, filelock.FileLock(lock)))
            ),
            study_name="search",
            direction="maximize",
            pruner=chosen,
            load_if_exists=True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{journal} cannot be read ({error!r:.100}); choose another --output.") from error


def _cut_off_what_is_torn(journal: Path) -> None:
    """Shorten a journal to its whole lines: Optuna would glue the next to one of a process killed, or out of room."""
    content = journal.read_bytes() if journal.exists() else b""
    if content and not content.endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _halving() -> "optuna.pruners.BasePruner":
    """Successive halving (ASHA: Li et al., 2020, https://arxiv.org/abs/1810.05934), by what trials have reported alone.

    Optuna's own notes that a trial has come to an epoch before it answers, and lets one go on that was killed between
    the two. This one answers the same again, unless others have reported since.
    """
    import optuna

    class Halving(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            epoch = trial.last_step or 0
            if epoch not in (REDUCTION**rung for rung in range(epoch)):
                return False
            reports = (other.intermediate_values for other in study.get_trials(deepcopy=False))  # its own among them
            reached = sorted((values[epoch] for values in reports if epoch in values), reverse=True)
            return trial.intermediate_values[epoch] < reached[max(1, len(reached) // REDUCTION) - 1]

    return Halving()


def sampler(kind: str, seed: int, number: int, place: int = 0) -> "optuna.samplers.BaseSampler":
    """What chooses a value, ``tpe`` or ``random``, for the key at a place of the space, and for the trial of a number.

    Seeded for these alone, so that a search that was cut off anywhere chooses the same.
    """
    import optuna

    seed = (seed * 1_000_003 + number + place * 7_919) % 2**32
    if kind == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM)


def importances(study: "optuna.Study") -> dict[str, float]:
    """How much of the differences between trials each key explains, in shares of 1, by a random forest (fANOVA).

    After the first epoch, since that is what all trials have come to; empty with too few trials.
    """
    import optuna

    trials = [
        optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=reported[1])
        for trial in study.get_trials()
        if 1 in (reported := trial.intermediate_values)
    ]
    if len(trials) < FEWEST or len({trial.value for trial in trials}) < 2:
        return {}
    after_one_epoch = optuna.create_study(direction="maximize")
    after_one_epoch.add_trials(trials)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(after_one_epoch, evaluator=evaluator)
    return {name: round(share, 4) for name, share in found.items()}

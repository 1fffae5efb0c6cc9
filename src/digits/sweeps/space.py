"""The file of a search, and its space: for each key, a list of values or a range, as Optuna's distributions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from digits.config import Seed
from digits.errors import UserError, shown
from digits.model.geometry import OneOf
from digits.overrides import as_override
from digits.runs.differences import flat

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Plain = str | int | float | bool | None  # types of the values in a list
Space = Mapping[str, "BaseDistribution"]


@dataclass
class SearchConfig:
    """The content of a file in ``conf/search``.

    Attributes:
        space: For each key, a list of values, or ``low`` and ``high`` of a range, both included; with ``log: true`` its
            logarithm is sampled uniformly. Two whole numbers make a range of whole numbers.
    """

    space: dict[str, Any] = field(default_factory=dict)
    trials: Annotated[int, Ge(1), "number of trials, including those of other processes"] = 27
    seeds: Annotated[int, Ge(1), "trainings of each trial, each with another seed; their mean counts"] = 1
    sampler: Annotated[str, OneOf("tpe", "random"), "how the next trial is chosen"] = "tpe"
    pruner: Annotated[str, OneOf("asha", "median", "none"), "which trials are stopped early"] = "asha"
    seed: Annotated[Seed, "seed of the sampler"] = 0


def parse(space: Mapping[str, Any]) -> Space:
    """Turn the space of a file in ``conf/search`` into Optuna's distributions.

    Args:
        space: For each key, a list of values, or ``low``, ``high`` and ``log`` of a range.

    Raises:
        UserError: For the first key that has neither.
    """
    return {key: _distribution(key, values) for key, values in space.items()}


def _distribution(key: str, values: Any) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, list) and values and all(isinstance(value, Plain) for value in values):
        return CategoricalDistribution(values)
    if isinstance(values, Mapping) and {"low", "high"} <= values.keys() <= {"low", "high", "log"}:
        low, high, log = values["low"], values["high"], values.get("log", False)
        numbers = all(isinstance(number, int | float) and not isinstance(number, bool) for number in (low, high))
        if numbers and low < high and isinstance(log, bool) and (low > 0 or not log):
            whole = isinstance(low, int) and isinstance(high, int)
            return IntDistribution(low, high, log) if whole else FloatDistribution(low, high, log)
    raise UserError(
        f"space.{key}: {shown(dict(flat(values)) if isinstance(values, Mapping) else values)} is not allowed; it has "
        "to be a list of values, or {low: …, high: …} of a range; with low above 0, log: true is possible too."
    )


def examples(distribution: "BaseDistribution") -> tuple[Any, ...]:
    """All values of a list, or the two ends of a range."""
    values: Any = distribution
    return tuple(values.choices) if hasattr(values, "choices") else (values.low, values.high)


def contains(distribution: "BaseDistribution", value: Any) -> bool:
    """Whether a value is in the list, or in the range."""
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (TypeError, ValueError):
        return False


def samples(space: Space) -> Iterator[list[str]]:
    """Overrides of trials that contain each value of each list, and each end of each range, once."""
    first = {key: examples(distribution)[0] for key, distribution in space.items()}
    yield overrides(first)
    for key, distribution in space.items():
        for value in examples(distribution)[1:]:
            yield overrides({**first, key: value})


def overrides(params: Mapping[str, Any]) -> list[str]:
    """The values of a trial as Hydra's overrides."""
    return [as_override(key, value) for key, value in params.items()]

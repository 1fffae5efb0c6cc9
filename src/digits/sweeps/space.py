"""What a search looks through: for each key, a list of values or a range."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from digits.errors import UserError, shown
from digits.runs.differences import flat

if TYPE_CHECKING:
    import optuna

Plain = str | int | float | bool | None  # in a list of values


@dataclass(frozen=True)
class Values:
    """One of several values.

    Attributes:
        examples: All of them.
    """

    examples: Sequence[Plain]

    def has(self, value: Any) -> bool:
        """Whether it is one of them."""
        return value in self.examples

    def suggest(self, trial: "optuna.Trial", name: str) -> None:
        """Have Optuna choose."""
        trial.suggest_categorical(name, list(self.examples))


@dataclass(frozen=True)
class Range:
    """A number from low to high, both included; a whole one, if both are.

    Attributes:
        low: Smallest.
        high: Largest.
        log: Whether it is the ratio of two values that counts.
    """

    low: float
    high: float
    log: bool = False

    @property
    def examples(self) -> Sequence[Plain]:
        """Its two ends."""
        return self.low, self.high

    @property
    def whole(self) -> bool:
        """Whether it has whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def has(self, value: Any) -> bool:
        """Whether it lies between them."""
        return isinstance(value, int if self.whole else (int, float)) and self.low <= value <= self.high

    def suggest(self, trial: "optuna.Trial", name: str) -> None:
        """Have Optuna choose."""
        suggest: Any = trial.suggest_int if self.whole else trial.suggest_float
        suggest(name, self.low, self.high, log=self.log)


Space = Mapping[str, Values | Range]


def parsed(space: Mapping[str, Any]) -> Space:
    """A space from what a file says.

    Args:
        space: For each key, a list, or ``low``, ``high`` and ``log`` of a range.

    Raises:
        UserError: For the first key that has neither.
    """
    return {name: _parsed(name, values) for name, values in space.items()}


def _parsed(name: str, values: Any) -> Values | Range:
    if isinstance(values, list) and values and all(isinstance(value, Plain) for value in values):
        return Values(values)
    if isinstance(values, Mapping) and {"low", "high"} <= values.keys() <= {"low", "high", "log"}:
        low, high, log = values["low"], values["high"], values.get("log", False)
        numbers = all(isinstance(number, int | float) and not isinstance(number, bool) for number in (low, high))
        if numbers and low < high and isinstance(log, bool) and (low > 0 or not log):
            return Range(low, high, log)
    raise UserError(
        f"space.{name}: {shown(dict(flat(values)) if isinstance(values, Mapping) else values)} is not allowed; it has "
        "to be a list of values, or {low: …, high: …} of a range, with log: true where low is above 0."
    )


def samples(space: Space) -> Iterator[list[str]]:
    """Words of trials that have each value of each list, and each end of each range, once."""
    first = {name: values.examples[0] for name, values in space.items()}
    yield words(first)
    for name, values in space.items():
        for value in values.examples[1:]:
            yield words({**first, name: value})


def words(params: Mapping[str, Any]) -> list[str]:
    """Values of keys, as they are typed for Hydra."""
    return [f"{name}={_typed(value)}" for name, value in params.items()]


def _typed(value: Any) -> str:
    if not isinstance(value, str):
        return shown(value)
    try:
        as_it_is = OverridesParser.create().parse_override(f"key={value}").value() == value
    except HydraException:
        as_it_is = False
    return value if as_it_is else QuotedString(text=value, quote=Quote.double).with_quotes()

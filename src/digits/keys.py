"""How a configuration key is declared: its default, its meaning with a unit, and the values that it takes."""

import json
import math
from dataclasses import dataclass, field
from typing import Any


def key(
    default: Any,
    meaning: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    one_of: tuple[str, ...] = (),
) -> Any:
    """Declare a configuration key.

    Args:
        default: Its value where no file and no override sets one; ``MISSING`` if there is none.
        meaning: What it is, with its unit; error messages quote it.
        at_least: Smallest value allowed.
        above: Bound that the value has to exceed.
        at_most: Largest value allowed.
        below: Bound that the value has to stay under.
        one_of: The words allowed, where the value is a word.
    """
    rule = Rule(meaning, at_least, above, at_most, below, one_of)
    if isinstance(default, list | dict):
        return field(default_factory=lambda: default.copy(), metadata={"rule": rule})
    return field(default=default, metadata={"rule": rule})


@dataclass(frozen=True)
class Rule:
    """What a key means, and which values it takes."""

    meaning: str
    at_least: float | None
    above: float | None
    at_most: float | None
    below: float | None
    one_of: tuple[str, ...]

    def allows(self, value: Any) -> bool:
        """Whether one value, or each of a list, is allowed; a null always is where the type admits it."""
        if value is None:
            return True
        if isinstance(value, list):
            return all(self.allows(item) for item in value)
        if isinstance(value, str):
            return not self.one_of or value in self.one_of
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """The values allowed, in words: 'at least 0 and below 1'; empty where all are."""
        bounds = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        number = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)
        words = "one of " + ", ".join(self.one_of) if self.one_of else ""
        return " or ".join(filter(None, [number, words]))


def shown(value: Any) -> str:
    """A value as a person types it on the command line, and as YAML has it."""
    if isinstance(value, list):
        return "[" + ",".join(map(shown, value)) + "]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)

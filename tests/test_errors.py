"""Messages: values as a user types them, and similar names."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from digits.errors import as_override, did_you_mean, shown


def test_shown() -> None:
    assert [shown(value) for value in (None, True, 1, 1.0, "x", [1, 2])] == ["null", "true", "1", "1.0", "x", "[1,2]"]


def test_did_you_mean() -> None:
    known = ["optimizer.lr", "optimizer.betas", "trainer.max_epochs"]
    assert did_you_mean("optimzer.lr", known) == " Did you mean optimizer.lr?"
    assert did_you_mean("max_epochs", known) == " Did you mean trainer.max_epochs?"
    assert did_you_mean("optimizer.momentum", known) == ""
    assert did_you_mean("foo", []) == ""


@pytest.mark.parametrize(
    "value",
    [
        "outputs/2026-11-01/12-00-00",
        "outputs/lr=0.1",
        "outputs/été",
        "a b",
        "x,y",
        "[a]{b}",
        "it's",
        'say "7"',
        "back\\slash",
        "end\\",
        'both\\"',
        "7",
    ],
)
def test_an_override_as_hydra_reads_it(value: str) -> None:
    override = OverridesParser.create().parse_override(as_override("hydra.run.dir", value))
    assert str(override.value()) in (value, f"'{value}'", f'"{value}"')
    assert getattr(override.value(), "text", str(override.value())) == value

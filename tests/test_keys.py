"""The rules of keys, in words and in effect."""

from digits.errors import did_you_mean
from digits.keys import Rule, shown


def rule(**limits: object) -> Rule:
    values = {"at_least": None, "above": None, "at_most": None, "below": None, "one_of": ()}
    return Rule("a test", **{**values, **limits})


def test_a_rule_in_words() -> None:
    assert str(rule(at_least=0, below=1)) == "at least 0 and below 1"
    assert str(rule(at_least=0, one_of=("same", "valid"))) == "at least 0 or one of same, valid"


def test_what_a_rule_allows() -> None:
    half_open = rule(at_least=0, below=1)
    assert half_open.allows(0)
    assert half_open.allows(None)
    assert half_open.allows([0.0, 0.9])
    assert not half_open.allows(1)
    assert not half_open.allows([0.5, 1])
    assert not rule().allows(float("nan"))
    assert rule(one_of=("a",)).allows("a")
    assert not rule(one_of=("a",)).allows("b")


def test_shown() -> None:
    assert [shown(value) for value in (None, True, 1, 1.0, "x", [1, 2])] == ["null", "true", "1", "1.0", "x", "[1,2]"]


def test_did_you_mean() -> None:
    known = ["optimizer.lr", "optimizer.betas", "trainer.max_epochs"]
    assert did_you_mean("optimzer.lr", known) == " Did you mean optimizer.lr?"
    assert did_you_mean("max_epochs", known) == " Did you mean trainer.max_epochs?"
    assert did_you_mean("optimizer.momentum", known) == ""
    assert did_you_mean("foo", []) == ""

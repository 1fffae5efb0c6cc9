"""Messages: values as a user types them, and similar names."""

from digits.errors import did_you_mean, shown


def test_shown() -> None:
    assert [shown(value) for value in (None, True, 1, 1.0, "x", [1, 2])] == ["null", "true", "1", "1.0", "x", "[1,2]"]


def test_did_you_mean() -> None:
    known = ["optimizer.lr", "optimizer.betas", "trainer.max_epochs"]
    assert did_you_mean("optimzer.lr", known) == " Did you mean optimizer.lr?"
    assert did_you_mean("max_epochs", known) == " Did you mean trainer.max_epochs?"
    assert did_you_mean("optimizer.momentum", known) == ""
    assert did_you_mean("foo", []) == ""

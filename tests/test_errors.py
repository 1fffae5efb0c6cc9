"""Parts of messages: values as a user types them, and suggestions of similar names."""

from digits.errors import did_you_mean, shown


def test_values_are_shown_as_a_user_types_them() -> None:
    assert [shown(value) for value in (None, True, 1, 1.0, "x", [1, 2])] == ["null", "true", "1", "1.0", "x", "[1,2]"]


def test_similar_names_are_suggested() -> None:
    known = ["optimizer.lr", "optimizer.betas", "trainer.max_epochs"]
    assert did_you_mean("optimzer.lr", known) == " Did you mean optimizer.lr?"
    assert did_you_mean("max_epochs", known) == " Did you mean trainer.max_epochs?"
    assert did_you_mean("optimizer.momentum", known) == ""
    assert did_you_mean("foo", []) == ""

"""The ``digits`` command, also as ``python -m digits``."""

from digits.errors import exit_codes


def main() -> None:
    """Run the command that the command line names; interrupted already while it is imported, it says no more."""
    with exit_codes():
        from digits.cli import main as command

        command()


if __name__ == "__main__":
    main()

"""The ``digits`` command, also as ``python -m digits``."""

import signal


def main() -> None:
    """Run the command that the command line names; interrupted already while it is imported, it says no more."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once, and without a word, until there is somebody to obey it
    from digits.signals import exit_codes

    with exit_codes():
        from digits.cli.app import main as command

        command()


if __name__ == "__main__":
    main()

"""The ``digits`` command, also as ``python -m digits``."""

import signal


def main() -> None:
    """Run the command."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # exit silently on Ctrl-C until our handler is installed
    from digits.signals import exit_codes

    with exit_codes():
        from digits.cli.app import main as command

        command()


if __name__ == "__main__":
    main()

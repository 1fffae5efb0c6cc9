"""The ``digits`` command, also as ``python -m digits``."""

import signal
import sys


def main() -> None:
    """Run the command."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # exit silently on Ctrl-C until our handler is installed
    from digits.shutdown import quick_exit

    with quick_exit():
        from digits.entry import command

        with command():
            from digits.cli import app

            sys.exit(app.main())


if __name__ == "__main__":
    main()

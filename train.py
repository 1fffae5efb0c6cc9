"""Train a network on handwritten digits: ``python train.py [key=value ...]``; ``--help`` lists the keys."""

import signal
import sys

if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # exit silently on Ctrl-C until our handler is installed
    from digits.shutdown import quick_exit

    with quick_exit():
        from digits.entry import command

        with command():
            from digits.cli.train import main

            sys.exit(main())

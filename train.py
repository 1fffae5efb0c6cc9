"""Train a network on handwritten digits: ``python train.py [key=value ...]``; ``--help`` says what there is."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once, and without a word, until there is somebody to obey it
    from digits.signals import exit_codes

    with exit_codes():  # from the first of the other imports on
        from digits.cli.train import main

        main()

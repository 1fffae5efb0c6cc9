"""Train a network on handwritten digits: ``python train.py [key=value ...]``; ``--help`` says what there is."""

from digits.errors import exit_codes

if __name__ == "__main__":
    with exit_codes():  # from the first import on
        from digits.main import main

        main()

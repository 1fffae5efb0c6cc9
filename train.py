"""Train a network on handwritten digits: ``python train.py [key=value ...]``; ``--help`` says what there is."""

from digits.main import main

if __name__ == "__main__":
    main()

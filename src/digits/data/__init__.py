"""MNIST: its files, and batches of them."""

"""Reads handwritten digits with a convolutional network."""

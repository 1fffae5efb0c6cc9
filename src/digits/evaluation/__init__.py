"""How well a trained network reads the test set."""

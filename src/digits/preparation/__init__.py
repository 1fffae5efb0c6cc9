"""Turns pictures into images as a network reads them: 28×28 bytes. Without torch."""

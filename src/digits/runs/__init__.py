"""Run directories: what is in them, how they are written, read and found."""

"""Trainings that are cut off in every way there is, and gone on with."""

"""Trainings that are cut off and resumed, damaged files, wrong input, and repeated trainings."""

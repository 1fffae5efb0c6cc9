"""Many trainings: sweeps, searches, and their comparison."""

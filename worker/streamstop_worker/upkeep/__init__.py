"""Upkeep: what workers do besides running jobs."""

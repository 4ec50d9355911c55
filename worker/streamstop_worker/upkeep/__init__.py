"""Upkeep: what workers do beside jobs."""

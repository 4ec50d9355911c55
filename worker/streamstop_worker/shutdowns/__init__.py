"""Shutdowns: how all stream tasks of a room are stopped."""

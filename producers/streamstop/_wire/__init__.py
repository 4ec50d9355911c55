"""Formats: Celery messages, Celery result records and workers' reports."""

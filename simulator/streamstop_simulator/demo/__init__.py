"""The demo: real Celery workers stop simulated stream tasks, on parts that need no installation."""

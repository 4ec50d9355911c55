"""The demo: real Celery workers stop simulated stream tasks, without a Redis server or a vendor account."""

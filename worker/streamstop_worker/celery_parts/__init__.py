"""What Celery is extended by: a kombu transport that takes jobs out of lanes, and a pool that is one event loop."""

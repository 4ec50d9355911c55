"""What talks to Redis, below everything that a service imports."""

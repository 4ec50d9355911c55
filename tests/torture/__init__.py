"""The torture: real workers, a real Redis and the simulated vendors, under faults that a seed determines."""

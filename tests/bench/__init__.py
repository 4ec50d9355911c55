"""The benchmark: what the documentation's figures are measured with. ``python -m tests.bench``; it is not a test."""

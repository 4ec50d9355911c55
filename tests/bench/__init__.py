"""The benchmark: what the README's figures are measured with. ``python -m tests.bench``; it is not a test."""

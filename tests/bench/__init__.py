"""The benchmark, which measures the documentation's figures: ``python -m tests.bench``. It is not a test."""

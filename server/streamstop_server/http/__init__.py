"""What every request and answer has in common: problems, bounds, headers, the log, the OpenAPI document."""

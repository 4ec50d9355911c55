"""``make dev``: a complete streamstop on one machine, with sample tasks, to try commands and services on."""

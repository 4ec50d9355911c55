"""What several groups of commands share: options, help pages, input, output and exit codes."""

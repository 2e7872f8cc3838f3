"""One module for each command: DESCRIPTION, EXAMPLES, configure and run."""

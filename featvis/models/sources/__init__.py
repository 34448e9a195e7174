"""One file for each place that networks come from."""

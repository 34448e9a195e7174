"""Where jobs are computed, one file for each way."""

"""Where and how jobs run."""

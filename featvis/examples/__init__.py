"""Dataset examples: the photographs of a folder that a unit responds to most."""

"""How it is made: from a plan to finished pictures."""

"""A network while it is borrowed: tapped, frozen, truncated, given back."""

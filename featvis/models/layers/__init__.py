"""What a network's layers are, measured."""

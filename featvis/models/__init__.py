"""Networks: where a model comes from and what it expects."""

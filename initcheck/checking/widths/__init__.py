"""``initcheck check --widths``: how a model scales with its width."""

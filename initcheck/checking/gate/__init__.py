"""The gate: what a model measures like now against what it measured like when its baseline was committed."""

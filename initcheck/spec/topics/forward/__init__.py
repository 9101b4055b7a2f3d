"""Claims about the forward pass."""

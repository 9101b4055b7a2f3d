"""Claims about seeds, state and configuration."""

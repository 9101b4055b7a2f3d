"""Claims about fan-in and fan-out."""

"""What is measured, and on what: reference networks, their layers, initializers and data."""

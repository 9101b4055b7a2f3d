"""What signal propagation theory predicts: maps, depth scales and finite-width laws. NumPy and SciPy alone."""

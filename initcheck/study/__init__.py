"""A study: networks × initializers × activation functions × seeds, and its report."""

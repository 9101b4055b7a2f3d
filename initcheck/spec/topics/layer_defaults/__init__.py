"""Claims about the default initializers of layers."""

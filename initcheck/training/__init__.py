"""Training: what becomes of networks that differ in nothing but their initializer."""

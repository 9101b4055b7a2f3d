"""Checking a model of the user's own: loading it, making its batch, measuring, finding and fixing."""

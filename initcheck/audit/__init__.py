"""Judgements on a measurement table: frame in, frame out, nothing measured here."""

"""Judgements on a measurement table: frame in, frame out, nothing measured here."""

from initcheck.audit.propagation import summarize_propagation

__all__ = ["summarize_propagation"]

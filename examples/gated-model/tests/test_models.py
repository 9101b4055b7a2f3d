"""What the models promise."""

from __future__ import annotations

from models import build_classifier


def test_the_classifier_has_an_output_for_each_class():
    """This test was there before."""
    assert build_classifier(classes=7).output_shape == (None, 7)


def test_the_classifier_starts_as_recorded(initcheck):
    """These three lines are the gate."""
    model = build_classifier()
    initcheck.gate(model)

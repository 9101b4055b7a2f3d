"""What is judged of layers over time, on squared gradients that are given step by step."""

import numpy as np
import pytest
from model_measurement import find_by

from initcheck.probe.recurrence import OverTime


def find(code, factors, steps):
    """The findings on one layer whose squared gradient changes by these factors a step back, one for each seed."""
    squares = np.asarray(factors)[:, None] ** np.arange(steps + 1)
    return [each.severity for each in find_by(code, over_time=(OverTime("rnn", 0, squares),))]


@pytest.mark.parametrize(
    ("factor", "steps", "severities"),
    [(0.1, 12, ["wrong"]), (0.15, 2, []), (0.3, 12, []), (0.3, 60, ["note"]), (0.98, 60, []), (1.1, 12, [])],
)
def test_a_layer_forgets_only_within_a_sequence_longer_than_its_memory(factor, steps, severities):
    assert find("IC204", [factor] * 4, steps) == severities


@pytest.mark.parametrize(
    ("factors", "severities"),
    [([2.0, 2.1, 2.2, 2.3], ["wrong"]), ([1.2, 1.2, 1.2, 8.0], ["note"]), ([1.2, 1.3, 1.2, 1.3], [])],
)
def test_growth_over_time_is_a_note_where_the_draws_do_not_show_it_to_be_beyond_the_limit(factors, severities):
    """Over nine steps the limit is a hundredfold, 1.67 a step."""
    assert find("IC205", factors, 9) == severities

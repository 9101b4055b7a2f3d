"""Batches: by time, by traced graph, and shorter towards the end."""

from __future__ import annotations

from collections import deque

import pytest

from initcheck.sweeping.dask_engine import LONGEST_SECONDS, SHORTEST_SECONDS, Batching
from initcheck.sweeping.measurement import CellResult
from initcheck.sweeping.spec import Cell


def make_cells(count, activation="relu", depth=2):
    return [
        Cell(network="mlp", initializer=f"Constant(value={number}.0)", activation=activation, depth=depth, width=8)
        for number in range(count)
    ]


def cut(batching, cells, threads):
    left, batches = deque(cells), []
    while left:
        batches.append(batching.take(left, threads))
    return batches


@pytest.mark.parametrize("seconds", [None, 0.0, 0.001, 0.3, 7.0, 1e4])
@pytest.mark.parametrize("threads", [1, 3, 1000])
def test_every_cell_is_in_one_batch_in_order(seconds, threads):
    cells = [*make_cells(50), *make_cells(30, "tanh"), *make_cells(1, depth=3)]
    batches = cut(Batching(seconds), cells, threads)
    assert [cell for batch in batches for cell in batch] == cells
    assert all(batches)


def test_a_batch_goes_over_activation_functions_but_not_over_networks():
    cells = [*make_cells(5), *make_cells(5, "tanh"), *make_cells(5, "tanh", depth=3)]
    assert [len(batch) for batch in cut(Batching(0.01), cells, 1)] == [10, 5]


def test_a_batch_ends_between_two_graphs_if_it_can():
    cells = [cell for name in ("elu", "relu", "selu", "silu") for cell in make_cells(19, name)]

    def take(seconds, threads):
        return len(Batching(seconds).take(deque(cells), threads))

    assert take(1.0, 1) == 38  # 30 s, the longest: one graph and more than a half of another, which goes along
    assert take(1.2, 1) == 19  # 30 s: one graph and less than a half, which is left
    assert take(1.0, 3) == 19  # 12 s, a share: more than a half of one
    assert take(1.0, 8) == 4  # 4 s: less than a half, and too much to go along
    assert take(0.1, 8) == 19  # 2 s, the shortest: 20 cells, one of them of another graph
    assert take(4.0, 1) == 7  # a graph takes more than twice as long as a task should


def test_before_anything_is_known_a_batch_is_small_and_leaves_some_for_the_other_workers():
    assert len(Batching().take(deque(make_cells(1000)), 4)) == 16
    assert [len(batch) for batch in cut(Batching(), make_cells(8), 4)] == [2, 2, 1, 1, 2]


@pytest.mark.parametrize("seconds", [0.2, 1.0, 11.0])
def test_where_much_is_left_a_batch_takes_as_long_as_a_task_may(seconds):
    batch = Batching(seconds).take(deque(make_cells(2000)), 2)
    assert len(batch) * seconds <= LONGEST_SECONDS < (len(batch) + 1) * seconds


def test_a_cell_that_takes_longer_than_a_task_may_goes_alone():
    assert len(Batching(10 * LONGEST_SECONDS).take(deque(make_cells(20)), 1)) == 1


def test_cells_that_take_no_time_make_no_endless_batch():
    assert len(Batching(0.0).take(deque(make_cells(5000)), 1)) == 200


def test_towards_the_end_batches_get_shorter_but_not_too_short():
    lengths = [len(batch) for batch in cut(Batching(0.1), make_cells(1000), 2)]
    assert lengths[:-1] == sorted(lengths[:-1], reverse=True)
    assert lengths[0] == 200  # the largest; of the seconds that are left, a quarter would be 250
    assert lengths[1] == 800 // 4
    assert lengths[2] == 600 // 4
    shortest = round(SHORTEST_SECONDS / 0.1)
    assert lengths[-2] == shortest
    # The last two would have been of one graph, and short.
    assert shortest <= lengths[-1] <= 2 * shortest


def test_what_cells_took_is_learnt_and_recent_ones_count_more():
    batching = Batching()
    batching.learn([])
    assert batching.seconds_per_cell is None
    for seconds, mean in ((1.0, 1.0), (3.0, 2.0), (4.0, 3.0)):
        batching.learn([CellResult(cell, "measured", "", seconds) for cell in make_cells(3)])
        assert batching.seconds_per_cell == pytest.approx(mean)

"""What a monitor leaves behind: the table on disk, TensorBoard's events, pictures."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import keras
import numpy as np
import pandas as pd
import pytest

from initcheck.callbacks import SignalMonitor
from initcheck.core.errors import OutputError, UsageError
from initcheck.monitor import record
from initcheck.monitor.record import MONITOR_COLUMNS, SCALARS
from initcheck.monitor.report import MOST_LINES, build_monitor_document, choose_layers, draw_monitor
from initcheck.pages.html import render_html

STEPS, BATCH = 6, 16


def build(layers=2):
    keras.utils.set_random_seed(5)
    hidden = [keras.layers.Dense(6, activation="relu", name=f"hidden_{place}") for place in range(layers)]
    model = keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(1, name="last->out")])
    model.compile("sgd", "mse")
    return model


def make_monitor(**settings):
    return SignalMonitor(np.random.default_rng(1).normal(size=(8, 4)), np.zeros(8), **settings)


def train(model, monitor, epochs=1, callbacks=()):
    random = np.random.default_rng(0)
    x = random.normal(size=(STEPS * BATCH, 4))
    model.fit(x, np.zeros(len(x)), batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[*callbacks, monitor])


def read_events(folder):
    """Read event files as TensorBoard does, with nothing but TensorFlow."""
    tf = pytest.importorskip("tensorflow", reason="TensorFlow reads the events, to be another than who wrote them")
    found = []
    for path in sorted(folder.glob("*tfevents*")):
        records = tf.data.TFRecordDataset(str(path))
        found += [tf.compat.v1.Event.FromString(record.numpy()) for record in records]
    return found


def test_the_files_hold_the_table(tmp_path):
    model, monitor = build(), make_monitor(every=2, log_dir=tmp_path / "a" / "b")
    train(model, monitor, epochs=2)
    table = monitor.table
    assert list(table.columns) == [column.name for column in MONITOR_COLUMNS]
    types = {column.name: column.dtype for column in MONITOR_COLUMNS}
    assert table.dtypes.astype(str).to_dict() == types
    folder = tmp_path / "a" / "b"
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "monitor.parquet"), table)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "monitor.csv", dtype=types), table)
    assert len(table) == 7 * 3  # steps 0, 2, ... 12; three layers


def test_the_csv_grows_epoch_by_epoch_and_over_several_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "SECONDS_BETWEEN", 0.0)
    lengths = []

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            path = tmp_path / "monitor.csv"
            lengths.append(len(pd.read_csv(path)) if path.exists() else 0)

    model, monitor = build(), make_monitor(every=3, log_dir=tmp_path)
    train(model, monitor, epochs=2, callbacks=[Look()])
    train(model, monitor, callbacks=[Look()])
    assert lengths == [0, 3 * 3, 5 * 3]
    assert pd.read_csv(tmp_path / "monitor.csv")["step"].unique().tolist() == [0, 3, 6, 9, 12, 15, 18]


def test_short_epochs_are_written_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    """The first epoch is written; the second, milliseconds later, with the end of the fit."""
    written = []
    monkeypatch.setattr(record.MonitorRecord, "write", lambda self, probe: written.append(len(self.collect(probe))))
    train(build(), make_monitor(every=3, log_dir=tmp_path), epochs=3)
    assert written == [3 * 3, 7 * 3]


def test_a_new_monitor_replaces_the_table_of_an_earlier_one(tmp_path):
    for every in (1, 6):
        train(build(), make_monitor(every=every, log_dir=tmp_path))
    assert pd.read_csv(tmp_path / "monitor.csv")["step"].unique().tolist() == [0, 6]


def test_an_interrupted_training_can_be_written(tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 4:
                raise KeyboardInterrupt

    monitor = make_monitor(every=1, log_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(build(), monitor, callbacks=[Interrupt()])
    assert not list(tmp_path.iterdir())
    monitor.flush()
    assert pd.read_csv(tmp_path / "monitor.csv")["step"].unique().tolist() == [0, 1, 2, 3, 4]


def test_tensorboard_has_one_tag_for_each_quantity_and_layer(tmp_path):
    model, monitor = build(), make_monitor(every=2, log_dir=tmp_path)
    train(model, monitor)
    version, *events = read_events(tmp_path)
    assert version.file_version == "brain.Event:2"
    assert [event.step for event in events] == [0, 2, 4, 6]
    table = monitor.table.set_index(["step", "layer"])
    seen = set()
    for event in events:
        for value in event.summary.value:
            quantity, _, layer = value.tag.partition("/")
            assert value.simple_value == pytest.approx(table.loc[(event.step, layer), quantity], rel=1e-6)
            seen.add((event.step, quantity, layer))
    defined = {
        (step, quantity, layer)
        for (step, layer), row in table.iterrows()
        for quantity in SCALARS
        if pd.notna(row[quantity])
    }
    assert seen == defined and len(defined) > 60
    assert all(earlier.wall_time <= later.wall_time for earlier, later in pairwise(events))


def test_tensorflows_own_writer_makes_the_same_event_of_the_same_scalars(tmp_path):
    model, monitor = build(), make_monitor(every=6, log_dir=tmp_path / "ours")
    train(model, monitor)
    ours = read_events(tmp_path / "ours")
    tf = pytest.importorskip("tensorflow")
    with tf.summary.create_file_writer(str(tmp_path / "theirs")).as_default():
        tf.summary.experimental.write_raw_pb(ours[-1].summary.SerializeToString(), step=6)
    theirs = read_events(tmp_path / "theirs")
    assert theirs[0].file_version == ours[0].file_version
    assert theirs[-1].summary == ours[-1].summary
    assert theirs[-1].step == ours[-1].step == 6
    assert all(path.name.startswith("events.out.tfevents.") for path in tmp_path.glob("*/*tfevents*"))


def test_an_undefined_quantity_is_left_out_and_an_infinite_one_is_written(tmp_path):
    model, monitor = build(), make_monitor(every=6, log_dir=tmp_path)
    model.layers[0].bias.assign(np.full(6, np.inf))
    train(model, monitor)
    _, start, _ = read_events(tmp_path)
    scalars = {value.tag: value.simple_value for value in start.summary.value}
    assert scalars["nonfinite_fraction/hidden_0"] == 1.0
    assert "activation_variance/hidden_0" not in scalars
    assert "update_to_weight_ratio/hidden_0" not in scalars
    assert scalars["weight_norm/hidden_0"] > 0.0


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monitor = make_monitor(every=1)
    train(build(), monitor)
    monitor.flush()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_taken_away_is_reported_in_one_line(tmp_path):
    monitor = make_monitor(every=1, log_dir=tmp_path / "logs")
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(OutputError, match=r"Cannot write to .*logs'.*choose another log_dir") as caught:
        train(build(), monitor)
    assert "\n" not in str(caught.value)


def test_the_picture_has_a_line_for_each_layer_with_weights():
    model, monitor = build(), make_monitor(every=1)
    with pytest.raises(UsageError, match="Nothing was measured yet"):
        monitor.plot()
    assert "Nothing was measured yet" in monitor.to_html()
    train(model, monitor)
    picture = ElementTree.fromstring(monitor.plot())
    words = " ".join(picture.itertext())
    for word in ("hidden_0", "hidden_1", "last->out", "Gradient norm, dL/dW", "Update-to-weight ratio", "Dead units"):
        assert word in words
    assert "inf or NaN" not in words  # there were none
    page = monitor.to_html()
    assert page.lower().startswith("<!doctype html>")
    assert "last-&gt;out" in page and "last->out" not in page


def test_of_many_layers_six_are_drawn_from_the_first_to_the_last():
    model, monitor = build(layers=12), make_monitor(every=3)
    train(model, monitor)
    chosen = choose_layers(monitor.table)
    assert len(chosen) == MOST_LINES == 6
    assert chosen[0] == ("hidden_0", 0) and chosen[-1] == ("last->out", 0)
    caption = "".join(span.text for span in draw_monitor(monitor.table).caption)
    assert "7 further sites are in the table only" in caption


def test_layers_that_are_named_are_drawn_first_and_stand_out():
    model, monitor = build(layers=12), make_monitor(every=3)
    train(model, monitor)
    assert "hidden_4" not in dict(choose_layers(monitor.table))
    chosen = choose_layers(monitor.table, {"hidden_4", "hidden_6"})
    assert {("hidden_4", 0), ("hidden_6", 0)} < set(chosen) and len(chosen) == MOST_LINES
    assert chosen == sorted(chosen, key=lambda site: 99 if site[0] == "last->out" else int(site[0][7:]))
    plain, marked = (draw_monitor(monitor.table, named).panels[0].svg for named in ((), {"hidden_4"}))
    assert "hidden_4" in marked and "hidden_4" not in plain
    assert plain.count("stroke: var(--muted)") == 0 < marked.count("stroke: var(--muted)")


def test_the_page_begins_with_the_earliest_finding_and_lists_the_others():
    model, monitor = build(), make_monitor(every=2)
    train(model, monitor)
    table = monitor.table
    document = build_monitor_document(table, ["The loss rose.", "`hidden_1` died.", "`hidden_0` died."], [], [])
    assert document.answer is not None and document.answer.tone == "failed"
    assert "".join(span.text for span in document.answer.verdict) == "The loss rose. 2 more below."
    assert [len(section.blocks[0].items) for section in document.sections if section.anchor == "diagnosis"] == [3]
    one = build_monitor_document(table, ["The loss rose."], [], [])
    assert "more below" not in render_html(one) and "diagnosis" not in [section.anchor for section in one.sections]
    loss = table.groupby("step")["loss"].first()
    assert document.answer.values[0][0] == f"{loss.iloc[0]:.3g} → {loss.iloc[-1]:.3g}"
    last = table[table["step"] == table["step"].max()].set_index("layer")["dead_fraction"]
    assert document.answer.values[1] == (
        f"{100 * last.max():.0f}%",
        f"of the units of {last.idxmax()} are dead at the end",
    )
    assert document.answer.values[2] == ("4", "measurements, up to step 6")


def test_a_notebook_shows_the_answer_of_a_monitor():
    model, monitor = build(), make_monitor(every=2)
    assert "Nothing was measured yet." in monitor._repr_html_()
    train(model, monitor)
    fragment = monitor._repr_html_()
    assert "Nothing wrong was seen in 4 measured steps, up to step 6." in fragment
    assert "Gradient norm, dL/dW" in fragment and "Gradient norm, dL/dz" not in fragment
    assert not fragment.lower().startswith("<!doctype")


def test_sizes_are_drawn_as_amplitudes():
    """A mean square of 1/10,000 is a root mean square of 1/100."""
    model, monitor = build(), make_monitor(every=6)
    train(model, monitor)
    table = monitor.table.assign(activation_second_moment=pd.array([1e-4] * len(monitor.table), dtype="Float64"))
    words = "".join(ElementTree.fromstring(draw_monitor(table).panels[0].svg).itertext())
    assert "0.01" in words and "0.0001" not in words


def test_the_picture_follows_the_numbers():
    """A signal that falls to a millionth at the last step needs an axis of powers of ten; one that stays does not."""
    model, monitor = build(), make_monitor(every=6)
    train(model, monitor)
    table = monitor.table
    heights = {}
    for factor in (1.0, 1e-6):
        changed = table.copy()
        fallen = (changed["layer"] == "hidden_1") & (changed["step"] == 6)
        changed.loc[fallen, "activation_second_moment"] *= factor
        heights[factor] = draw_monitor(changed).panels[0].svg
    assert ">10⁻" in heights[1e-6] and ">10⁻" not in heights[1.0]

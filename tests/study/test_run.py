"""The reference study: what is measured, that sharing changes nothing, and the headline values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from marked import only_on

from initcheck.core.errors import InitializerError, UsageError
from initcheck.core.seeds import BATCH_SEED
from initcheck.models.data import load_data
from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import MlpSpec
from initcheck.probe import Probe, RedrawPlan, session
from initcheck.study import run
from initcheck.study.run import StudyOptions, run_study

SMALL = StudyOptions(
    networks=("mlp",),
    initializers=("HeNormal", "GlorotUniform"),
    activations=("relu", "tanh"),
    depth=3,
    widths=(16,),
    batch_size=8,
    seeds=(0, 1, 2),
)


def changed(**values):
    return StudyOptions(**{**SMALL.__dict__, **values})


@pytest.fixture(scope="module")
def record():
    return run_study(SMALL)


def test_every_pair_seed_and_site_has_one_row(record):
    keys = ["network", "initializer", "activation", "seed", "layer", "call"]
    assert not record.table.duplicated(keys).any()
    assert len(record.table) == 2 * 2 * 3 * (1 + 3 + 1)
    assert record.table[["depth", "width", "batch_size", "data"]].drop_duplicates().to_numpy().tolist() == [
        [3, 16, 8, "gaussian"]
    ]
    assert len(record.summary) == 4


def test_a_network_is_measured_at_each_width_under_a_name_of_its_own(record):
    both = run_study(changed(networks=("mlp", "notebook"), widths=(16, 24, 16), activations=("relu",)))
    widths = both.table[["network", "width"]].drop_duplicates().to_numpy().tolist()
    assert widths == [["mlp", 16], ["mlp_24", 24], ["notebook", 300]]
    assert [network.name for network in both.provenance.networks] == ["mlp", "mlp_24", "notebook"]
    # A further width changes nothing of the first one.
    first = both.summary[both.summary["network"] == "mlp"].reset_index(drop=True)
    alone = record.summary[record.summary["activation"] == "relu"].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, alone)
    deviations = both.summary.set_index(["network", "initializer"])["predicted_forward_gain_sd"].astype(float)
    assert (deviations["mlp_24"] < deviations["mlp"]).all()


def test_sharing_graphs_and_weights_gives_what_measuring_each_model_alone_gives(record):
    """One initializer and activation, built and measured with nothing shared: the same numbers."""
    spec = MlpSpec(initializer=InitializerSpec("GlorotUniform"), activation="tanh", depth=3, width=16)
    batch = load_data("gaussian", batch_size=8, seed=BATCH_SEED, sample_shape=(16,))
    for seed in SMALL.seeds:
        alone = Probe(spec.build((16,), seed), batch.x).measure_current(seed)
        rows = record.table.query(f"initializer == 'GlorotUniform' and activation == 'tanh' and seed == {seed}")
        for name in ("preactivation_second_moment", "gradient_second_moment", "weight_norm"):
            np.testing.assert_allclose(rows[name].to_numpy(float), alone[name].to_numpy(float), rtol=1e-6)


@only_on("tensorflow", "jax", reason="only equal graphs show that initializers draw the same")
def test_initializers_that_draw_the_same_weights_are_drawn_and_measured_once(monkeypatch):
    """Lecun's and Glorot's normal weights are the same on square layers, but not He's."""
    measured, drawn = [], []
    measure, sample = Probe.measure_sums, RedrawPlan.sample
    monkeypatch.setattr(Probe, "measure_sums", lambda *given: measured.append(1) or measure(*given))
    monkeypatch.setattr(RedrawPlan, "sample", lambda *given: drawn.append(1) or sample(*given))
    alike = run_study(changed(initializers=("LecunNormal", "GlorotNormal", "HeNormal")))
    assert len(drawn) == 2
    assert len(measured) == 2 * len(SMALL.activations)
    labels = ["initializer", "predicted_weight_variance"]
    rows = [alike.table[alike.table["initializer"] == name] for name in ("LecunNormal", "GlorotNormal")]
    first, second = (each.drop(columns=labels).reset_index(drop=True) for each in rows)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    alone = run_study(changed(initializers=("GlorotNormal",)))
    pd.testing.assert_frame_equal(
        alone.table, rows[1].reset_index(drop=True), check_exact=True, check_categorical=False
    )


def test_pairs_that_are_measured_side_by_side_are_the_same_as_one_after_the_other(record, monkeypatch):
    monkeypatch.setattr(run, "_SIDE_BY_SIDE", 1)
    pd.testing.assert_frame_equal(run_study(SMALL).table, record.table, check_exact=True)


def test_the_number_of_seeds_held_at_a_time_changes_nothing(record, monkeypatch):
    monkeypatch.setattr(session, "MOST_BYTES_DRAWN", 1)
    columns = ["preactivation_second_moment", "gradient_second_moment"]
    order = ["initializer", "activation", "seed", "position"]
    one_by_one = run_study(SMALL).table.sort_values(order)[columns]
    together = record.table.sort_values(order)[columns]
    np.testing.assert_allclose(
        one_by_one.to_numpy(float, na_value=-1), together.to_numpy(float, na_value=-1), rtol=1e-6
    )


def test_progress_says_what_is_measured_and_ends_complete():
    calls = []
    run_study(SMALL, progress=lambda done, total, what: calls.append((done, total, what)))
    assert {total for _, total, _ in calls} == {4}
    done = [finished for finished, _, _ in calls]
    assert done == sorted(done)
    assert calls[-1][:2] == (4, 4)
    assert any("GlorotUniform × tanh" in what for _, _, what in calls)


def test_an_initializer_that_cannot_make_a_kernel_is_named_and_the_rest_is_measured():
    record = run_study(changed(networks=("conv",), initializers=("Identity", "HeNormal"), depth=2, widths=(4,)))
    assert set(record.summary["initializer"]) == {"HeNormal"}
    refused = [entry for entry in record.not_measured if entry.initializer == "Identity"]
    assert {entry.activation for entry in refused} == {"relu", "tanh"}
    assert all("2D" in entry.reason or "dimension" in entry.reason for entry in refused)


def test_a_study_of_nothing_that_works_is_an_error():
    with pytest.raises(InitializerError, match=r"No initializer.*Identity"):
        run_study(changed(networks=("conv",), initializers=("Identity",), depth=2, widths=(4,)))


@pytest.mark.thorough
def test_installed_initializers_outside_the_study_are_named():
    record = run_study(changed(initializers=(), activations=("relu",), depth=1, widths=(4,), seeds=(0, 1)))
    assert "STFT" in {entry.initializer for entry in record.not_measured}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"networks": ("mpl",)}, "Did you mean mlp"),
        ({"networks": ()}, "at least one network"),
        ({"initializers": ("HeNomral",)}, "Did you mean HeNormal"),
        ({"activations": ("rellu",)}, "Did you mean .*relu"),
        ({"seeds": (0,)}, "at least 2 seeds"),
        ({"depth": 0}, "depth must be at least 1"),
    ],
)
def test_bad_options_are_refused_before_anything_is_measured(values, message):
    with pytest.raises(UsageError, match=message):
        run_study(changed(**values), progress=lambda *_: pytest.fail("the study has begun"))


def test_residual_networks_are_followed_along_their_sums():
    record = run_study(changed(networks=("residual", "residual_normalized"), initializers=("HeNormal",)))
    rows = record.summary.set_index(["network", "activation"])
    # x + W relu(x) with He: about half of x's second moment is added, times two.
    assert float(rows.loc[("residual", "relu"), "forward_gain"]) > 1.3
    assert pd.notna(rows.loc[("residual_normalized", "relu"), "forward_gain"])


@pytest.mark.thorough
def test_dense_layers_of_width_256_have_the_textbooks_gains():
    """Equivalence within 3%, which 16 seeds show: the gain of one seed has a standard deviation near 3%."""
    options = StudyOptions(
        networks=("mlp",),
        initializers=("HeNormal", "GlorotUniform", "RandomNormal(stddev=1.0)"),
        activations=("relu",),
    )
    summary = run_study(options).summary.set_index("initializer")
    for initializer, textbook in (("HeNormal", 1.0), ("GlorotUniform", 0.5), ("RandomNormal(stddev=1.0)", 128.0)):
        for direction in ("forward", "backward"):
            low, high = (float(summary.loc[initializer, f"{direction}_gain_{end}"]) for end in ("low", "high"))
            assert 0.97 * textbook <= low < high <= 1.03 * textbook or low <= textbook <= high, (initializer, direction)

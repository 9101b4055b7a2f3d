"""Numbers and claims on the pages that teach: recomputed from the committed tables with NumPy and pandas alone."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from documentation import ROOT
from keras_features import HAS_AXES
from scipy import stats

from initcheck.checking.settings import default_seeds
from initcheck.spec.catalogue import catalogue

STUDY = ROOT / "reports" / "reference"


def read_page(name: str) -> str:
    """Read a page with all white space as one blank."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def summary() -> pd.DataFrame:
    table = pd.read_csv(STUDY / "summary.csv")
    return table[table["network"] == "mlp"].set_index(["initializer", "activation"])


@pytest.fixture(scope="module")
def measurements() -> pd.DataFrame:
    table = pd.read_parquet(STUDY / "measurements.parquet")
    return table[(table["network"] == "mlp") & table["layer"].str.startswith("hidden")]


def levels(measurements: pd.DataFrame, initializer: str, activation: str) -> np.ndarray:
    """Give ln of the mean square of the pre-activations: one row a network."""
    rows = measurements[(measurements["initializer"] == initializer) & (measurements["activation"] == activation)]
    table = rows.pivot(index="seed", columns="position", values="preactivation_second_moment")
    return np.log(table.to_numpy(dtype=np.float64))


# --- docs/signal-propagation.md ---------------------------------------------------------------------------------------

TAUGHT = read_page("docs/signal-propagation.md")


def test_the_rows_that_are_quoted_are_those_of_the_study(summary):
    quoted = 0
    for initializer, activation, gains in re.findall(r"Row: (\w+) with (\w+), (.*?\])(?=[.]| That)", TAUGHT):
        row = summary.loc[(initializer, activation)]
        for direction, *numbers in re.findall(r"(forward|backward) ([\d.]+) \[([\d.]+), ([\d.]+)\]", gains):
            expected = [math.exp(row[f"{direction}_log_gain{end}"]) for end in ("", "_low", "_high")]
            assert [f"{each:.3f}" for each in expected] == numbers, (initializer, activation, direction)
            quoted += 1
    assert quoted == len(re.findall(r"(?:forward|backward) [\d.]+ \[", TAUGHT)) == 6


@pytest.mark.skipif(not HAS_AXES, reason="some claims are of the Keras in constraints.txt")
def test_the_claims_that_are_quoted_exist_and_are_refuted_where_the_page_says_so():
    expected = {claim.id: claim.expected for claim in catalogue()}
    quoted = re.findall(r"(\*refuted\*: )?`((?:forward|backward)\.[\w.]+)`", TAUGHT)
    assert len(quoted) > 15
    for refuted, claim in quoted:
        assert expected[claim] == ("refuted" if refuted else "holds"), claim


def test_the_factors_in_the_deeper_half_are_those_of_the_study(summary):
    for initializer in ("HeNormal", "GlorotUniform", "RandomNormal"):
        factor = math.exp(summary.loc[(initializer, "tanh"), "backward_log_gain_deep_half"])
        assert f"{factor:.3f} with `{initializer}`" in TAUGHT, initializer


def test_the_networks_lie_as_far_apart_as_the_page_says(measurements):
    found = levels(measurements, "HeNormal", "relu")
    assert f"one line for each of {len(found)} networks" in TAUGHT
    assert f"a batch of {measurements['batch_size'].iloc[0]} samples" in TAUGHT
    sd, freedom = found[:, -1].std(ddof=1), len(found) - 1
    low, high = (sd * math.sqrt(freedom / stats.chi2.ppf(share, freedom)) for share in (0.975, 0.025))
    last = measurements[(measurements["initializer"] == "HeNormal") & (measurements["activation"] == "relu")]
    last = last[last["layer"] == last["layer"].max()].iloc[0]
    name = "predicted_preactivation_second_moment"
    expected = math.sqrt(math.log1p((last[f"{name}_sd"] / last[name]) ** 2))
    assert f"was {sd:.2f} [{low:.2f}, {high:.2f}]; theory expects {expected:.2f}" in TAUGHT


def test_the_arithmetic_of_the_page_is_right(measurements):
    width = int(measurements["units"].iloc[0])
    assert f"a network of {measurements['depth'].iloc[0]} layers of {width} units" in TAUGHT
    assert f"has {0.05**2 / (2.0 / (width + width)):.2f} times the variance of `GlorotUniform`" in TAUGHT
    assert f"it is {2**16:,} times as large" in TAUGHT
    assert f"less than e = {math.e:.2f}" in TAUGHT
    assert f"π / (π − 1) = {math.pi / (math.pi - 1.0):.3f}" in TAUGHT


def test_the_signal_falls_by_the_power_law_that_the_page_gives():
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    square = 1.0
    for _ in range(2000):
        square = float((weights * np.tanh(math.sqrt(square) * points) ** 2).sum() / weights.sum())
    assert "it falls as 1 / (2 · layer)" in TAUGHT
    assert square * 2 * 2000 == pytest.approx(1.0, rel=0.01)


# --- docs/which-initializer.md ----------------------------------------------------------------------------------------

CHOICES = [
    [cell.strip() for cell in line.strip("|").replace("\\", "").split("|")]
    for line in (ROOT / "docs" / "which-initializer.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]
RANDOM = [
    *("VarianceScaling", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform"),
    *("LecunNormal", "LecunUniform", "Orthogonal"),
]


@pytest.mark.parametrize("row", CHOICES, ids=lambda row: row[0].strip("`"))
def test_what_is_recommended_is_the_best_of_the_study(row, summary):
    activation, recommended = row[0].strip("`"), row[1]
    table = summary.xs(activation, level="activation").loc[RANDOM]
    directions = ["forward", "backward"]
    kept = (table[[f"{each}_verdict" for each in directions]] == "preserves").all(axis=1)
    distinct = table["batch_variance_share"] >= 0.01
    assert recommended.startswith("**") == (kept & distinct).any()
    assert recommended.startswith("none") == (not distinct.any())
    candidates = table[kept & distinct] if (kept & distinct).any() else table[distinct] if distinct.any() else table
    change = candidates[[f"{each}_log_gain" for each in directions]].abs().max(axis=1)
    best = re.search(r"`(\w+)`", recommended)[1]
    assert change[best] == change.min()
    for direction, cell in zip(directions, row[2:4], strict=True):
        for end, number in zip(("", "_low", "_high"), re.findall(r"[\d.]+", cell), strict=True):
            places = len(number.partition(".")[2])
            assert f"{math.exp(table.loc[best, f'{direction}_log_gain{end}']):.{places}f}" == number, cell


def test_the_advice_in_short_is_that_of_the_table():
    page = read_page("docs/which-initializer.md")
    assert "**LeCun's for SELU and linear layers, He's for everything else.**" in page
    assert "With sigmoid, softplus, GELU, SiLU, Mish and ELU even the best one does not keep" in page
    for name, recommended, *_ in CHOICES:
        assert ("`He" in recommended) == (name not in ("`selu`", "`linear`")), name
    kept = {name.strip("`") for name, recommended, *_ in CHOICES if recommended.startswith("**")}
    assert kept == {"relu", "leaky_relu", "linear", "softsign"}
    assert len(CHOICES) == len(kept) + len(["sigmoid", "softplus", "gelu", "silu", "mish", "elu", "selu", "tanh"])


# --- docs/cost.md -----------------------------------------------------------------------------------------------------

COST = read_page("docs/cost.md")


def test_the_times_of_models_are_those_of_the_table():
    table = (ROOT / "reports" / "applications.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\d+) \| \d \| (\d+) \| (\d+) \|", table, re.MULTILINE)
    seconds = {name: int(each) for name, _, _, each in rows}
    paths = {name: int(each) for name, _, each, _ in rows}
    assert f"All {len(rows)} models" in COST and {size for _, size, _, _ in rows} == {"96"}
    assert "3 draws, 4 images" in table and "with 3 draws, on 4 images of 96 × 96 pixels" in COST
    median = f"Half of them took less than {math.ceil(np.median(list(seconds.values())))} seconds"
    assert f"{median}, and none took more than {max(seconds.values())}." in COST
    shown = re.findall(r"\| (\w+) \| (\d+) \| ([\d.]+) \|", COST)
    assert len(shown) > 5
    for name, judged, ratio in shown:
        assert int(judged) == paths[name]
        assert float(ratio) == pytest.approx(seconds[name] / seconds["ResNet50V2"], abs=0.051), name


def test_the_ratios_are_those_of_the_benchmarks():
    text = (ROOT / "reports" / "benchmarks" / "benchmarks.json").read_text(encoding="utf-8")
    ratios = {}
    for benchmark in json.loads(text)["benchmarks"]:
        ratios |= {name: each["ratio"] for name, each in benchmark["extra_info"].items()}
    measured = sorted(ratio for name, ratio in ratios.items() if "measured seed / (draw + plain step)" in name)
    assert f"costs {measured[0]:.2f} to {measured[-1]:.2f} times a plain forward and backward pass" in COST
    loops = sorted(ratio for name, ratio in ratios.items() if "straightforward loop / measured seed" in name)
    assert f"takes {loops[0]:.1f} to {loops[-1]:.0f} times as long" in COST
    assert f"takes {ratios['initcheck predict / import keras']:.2f} times as long as importing Keras" in COST


def test_the_default_seeds_are_those_of_the_program():
    assert [default_seeds(each) for each in (5_000_000, 5_000_001, 30_000_000, 30_000_001)] == [16, 8, 8, 5]
    assert (
        "By default 16 seeds are drawn, 8 for models of more than 5 million weights, and 5 for more than 30 million"
        in (COST)
    )


# --- README.md --------------------------------------------------------------------------------------------------------

README = read_page("README.md")


def test_readme_says_how_much_of_the_signal_arrives(measurements):
    sizes = {
        name: math.exp(np.diff(levels(measurements, name, "relu")[:, [0, -1]]).mean() / 2.0)
        for name in ("HeNormal", "GlorotUniform")
    }
    assert f"about 1/{round(1.0 / sizes['GlorotUniform'], -2):.0f} of the signal" in README
    assert f"A network of {measurements['position'].max()} ReLU layers" in README
    assert sizes["HeNormal"] == pytest.approx(1.0, abs=0.1)


def test_readme_counts_the_claims_and_those_that_are_refuted():
    hold, claims = re.search(r"([\d,]+) of ([\d,]+) claims hold", read_page("reports/spec.md")).groups()
    refuted = int(claims.replace(",", "")) - int(hold.replace(",", ""))
    assert f"of {claims} claims, {refuted} are [refuted]" in README


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


# --- docs/troubleshooting.md ------------------------------------------------------------------------------------------


def test_the_messages_that_are_quoted_are_those_of_the_program():
    code = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "initcheck").rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"|\{[^{}]*\}', "", code)  # texts that go on in the next line; what is filled in
    code = " ".join(code.split()).lower()
    quoted = re.findall(r"(?<!\*)\*([A-Z][^*]{12,})\*(?!\*)", read_page("docs/troubleshooting.md"))
    assert len(quoted) == 8
    for message in quoted:
        for part in re.sub(r"^(TensorFlow|Keras [\d.]+) ", "", message).split("..."):
            assert part.strip(" .").lower() in code, message

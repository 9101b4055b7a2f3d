"""Numbers and claims on the pages that teach: recomputed from the committed tables with NumPy and pandas alone."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

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

CHOSEN = read_page("docs/which-initializer.md")
WITHOUT_WIDTH = ("RandomNormal", "RandomUniform", "TruncatedNormal")
WITHOUT_CHANCE = ("Constant", "Identity", "Ones", "Zeros")


def read_choices(path: Path) -> dict[str, list[str]]:
    """Read the cells behind each activation function from the table of choices of a page."""
    _, _, rest = path.read_text(encoding="utf-8").partition("| Activation | Recommended |")
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").replace("\\", "").split(" | ")] for line in lines]
    return {activation.strip("`"): cells for activation, *cells in rows}


CHOICES = read_choices(ROOT / "docs" / "which-initializer.md")


def read_names(activation: str) -> tuple[str | None, str | None]:
    """Read what is recommended, and the second choice; None where there is none."""
    recommended, _, _, second, _ = CHOICES[activation]
    names = (recommended.strip("*").split(" +")[0], second.split("<br>")[0].split(" +")[0])
    return tuple(None if name.startswith("none") else name for name in names)


def settle(measurements: pd.DataFrame, initializer: str, activation: str) -> list[tuple[float, float, float]]:
    """Estimate the mean ln of the gain over the deeper half of the layers, forward and backward, with its interval."""
    rows = measurements[(measurements["initializer"] == initializer) & (measurements["activation"] == activation)]
    found = []
    for column, power in (("preactivation_second_moment", 1.0), ("gradient_norm", -2.0)):
        table = rows.pivot(index="seed", columns="position", values=column).to_numpy(dtype=np.float64)
        logs = power * np.diff(np.log(table), axis=1)
        deeper = logs[:, logs.shape[1] // 2 :].mean(axis=1)
        half = stats.t.ppf(0.975, len(deeper) - 1) * deeper.std(ddof=1) / math.sqrt(len(deeper))
        found.append((deeper.mean(), deeper.mean() - half, deeper.mean() + half))
    return found


def test_the_choices_are_those_of_the_report():
    assert read_choices(STUDY / "report.md") == CHOICES


@pytest.mark.parametrize("activation", CHOICES)
def test_nothing_is_shown_to_be_better_than_what_is_recommended(activation, summary, measurements):
    table = summary.xs(activation, level="activation")
    table = table[~table.index.str.startswith(WITHOUT_WIDTH + WITHOUT_CHANCE) & (table["batch_variance_share"] >= 0.01)]
    kept = (table[["forward_verdict", "backward_verdict"]] == "preserves").all(axis=1)
    gains = {name: settle(measurements, name, activation) for name in table.index}
    nearest = {name: max(max(low, -high, 0.0) for _, low, high in found) for name, found in gains.items()}
    farthest = {name: max(max(abs(low), abs(high)) for _, low, high in found) for name, found in gains.items()}
    recommended, second = read_names(activation)
    assert (recommended is not None) == kept.any()
    left = [name for name in table.index if kept[name] or nearest[name] <= math.log(2.0)]
    for name in (recommended, second) if recommended else (second,):
        group = [each for each in left if kept[each]] or left
        assert (name is None) == (not group)
        if name is not None:
            assert name in group and nearest[name] <= min(farthest[each] for each in group)
            left = [each for each in left if gains[each] != gains[name]]  # others may draw the same weights
    shown = [CHOICES[activation][place] for place in (1, 2)] if recommended else []
    for cell, found in zip(shown, gains.get(recommended, ()), strict=True):
        for number, expected in zip(re.findall(r"[\d.]+", cell), found, strict=True):
            assert f"{math.exp(expected):.{len(number.partition('.')[2])}f}" == number, cell


def test_the_advice_in_short_is_that_of_the_table():
    def read_list(pattern: str) -> set[str]:
        names = re.split(r", | and ", re.search(pattern, CHOSEN)[1])
        return {name.lower().removesuffix(" layers").replace(" ", "_") for name in names}

    names = {activation: read_names(activation) for activation in CHOICES}
    taken = {activation: recommended or second for activation, (recommended, second) in names.items()}
    for pattern, family in ((r"\*\*LeCun's for (.*?);", "Lecun"), (r"He's for (.*?)\.\*\*", "He")):
        assert read_list(pattern) == {each for each, name in taken.items() if name and name.startswith(family)}
    assert read_list(r"Only with (.*?) is this shown") == {each for each, (name, _) in names.items() if name}
    assert read_list(r"With (\w+ and \w+) not even") == {each for each, name in taken.items() if name is None}


def test_what_the_page_says_of_tanh_and_softsign_is_so(summary):
    assert "the gradient grows: with softsign by less than 5% a layer, with tanh by more. With 1 / fan_in" in CHOSEN
    for name in ("HeNormal", "HeUniform"):
        gains = {each: summary.loc[(name, each), "backward_log_gain_deep_half"] for each in ("softsign", "tanh")}
        assert 0.0 < gains["softsign"] < math.log(1.05) < gains["tanh"]
    for name in ("LecunNormal", "GlorotUniform"):
        for activation in ("softsign", "tanh"):
            for direction in ("forward", "backward"):
                first, then = (
                    summary.loc[(name, activation), f"{direction}_log_gain_{each}_half"] for each in ("shallow", "deep")
                )
                assert first < then < 0.0


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
    assert len(quoted) == 7
    for message in quoted:
        for part in re.sub(r"^(TensorFlow|Keras [\d.]+) ", "", message).split("..."):
            assert part.strip(" .").lower() in code, message

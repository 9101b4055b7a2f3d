"""What the committed pages print follows from the committed tables: recomputed with NumPy, pandas and SciPy."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports"
KEYS = ["activation", "initializer", "depth"]
CHANGES = ["forward_change", "backward_change", "distinct_log_share"]


def read_page(path):
    """Read a page as plain text, with the marks of Markdown, links and typographic signs taken out."""
    text = re.sub(r"(?<!\\)\[([^\]\\]*)\]\(#[^)]*\)", r"\1", (ROOT / path).read_text(encoding="utf-8"))
    text = text.replace("\\", "").replace("−", "-").replace("**", "")
    return re.sub(r"\s+", " ", text.replace("<br>", " "))


def rows_of(path):
    """Read the rows of all tables of a page, cell by cell."""
    lines = (ROOT / path).read_text(encoding="utf-8").replace("−", "-").splitlines()
    cells = (re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|"))
    return [[each.replace("\\", "").replace("<br>", " ").strip() for each in row] for row in cells]


def binomial_tail(hits, count, share):
    """Sum the probabilities of at most so many hits."""
    return sum(math.comb(count, each) * share**each * (1.0 - share) ** (count - each) for each in range(hits + 1))


# --- does the initialization predict the training? --------------------------------------------------------------------


@pytest.fixture(scope="module")
def configurations():
    return pd.read_csv(REPORTS / "trainability" / "trainability.csv")


def predictors_of(table):
    return {
        "depth alone, the baseline": table["depth"],
        "change of the signal along the layers, |ln q_L / q_1|": table["forward_change"].abs(),
        "change of the gradient along the layers, |ln g_1 / g_L|": table["backward_change"].abs(),
        "loss of what distinguishes samples, |ln of its share in the last layer|": table["distinct_log_share"].abs(),
        "the largest of these three changes": largest_change(table),
        "theory: depth over the depth predicted to train, without a measurement": table["depth"]
        / table["predicted_depth"],
    }


def largest_change(table):
    changes = table[CHANGES].abs()
    return changes.max(axis=1, skipna=False).where(~np.isinf(changes).any(axis=1), np.inf)


def correlate(first, second):
    known = first.notna() & second.notna()
    return first[known].rank().corr(second[known].rank())


def resample(table, statistic, count=1000):
    """Resample pairs of initializer and activation function: the ends of the 95% interval."""
    groups = table.reset_index(drop=True).groupby(["activation", "initializer"], sort=False)
    pairs = [part.index.to_numpy() for _, part in groups]
    random = np.random.default_rng(12345)
    drawn = (random.integers(0, len(pairs), len(pairs)) for _ in range(count))
    values = [statistic(table.iloc[np.concatenate([pairs[each] for each in chosen])]) for chosen in drawn]
    return np.quantile(values, [0.025, 0.975])


def test_the_configurations_are_the_runs_at_the_best_rate(configurations):
    runs = pd.read_csv(REPORTS / "trainability" / "runs.csv")
    runs["loss"] = runs["loss"].fillna(np.inf)
    losses = runs.groupby([*KEYS, "learning_rate"], sort=False)["loss"].agg(["mean", "min", "max"]).reset_index()
    best = losses.loc[losses.groupby(KEYS, sort=False)["mean"].idxmin()].set_index(KEYS)
    found = configurations.set_index(KEYS).loc[best.index]
    for mine, theirs in (("mean", "loss"), ("min", "loss_low"), ("max", "loss_high")):
        assert found[theirs].to_numpy() == pytest.approx(best[mine].to_numpy(), rel=1e-5)
    assert (found["learning_rate"] == best["learning_rate"]).all()
    changes = runs.groupby(KEYS, sort=False)[CHANGES].agg(lambda each: each.mean(skipna=False)).loc[best.index]
    assert found[CHANGES].to_numpy() == pytest.approx(changes.to_numpy(), rel=1e-5, nan_ok=True)
    chance = (found["loss"] / found["relative_loss"])[np.isfinite(found["loss"])]
    assert chance.to_numpy() == pytest.approx(np.full(len(chance), chance.iloc[0]), rel=1e-4)
    sentence = f"chance level, by the classes' frequencies, is {chance.median():.3f} nats."
    assert sentence in read_page("reports/trainability/trainability.md")


def test_the_correlations_are_those_of_the_table(configurations):
    printed = {row[0]: row[1:] for row in rows_of("reports/trainability/trainability.md")}
    for name, values in predictors_of(configurations).items():
        table = pd.concat([configurations[KEYS], values.rename("value"), configurations["relative_loss"]], axis=1)
        value = correlate(table["value"], table["relative_loss"])
        assert printed[name][0].split()[0] == f"{value:+.2f}", name
        assert printed[name][1] == str(table["value"].notna().sum()), name
        low, high = resample(table, lambda part: correlate(part["value"], part["relative_loss"]))
        found = [float(each) for each in re.findall(r"[+-]\d\.\d+", printed[name][0])[1:]]
        assert found == pytest.approx([low, high], abs=0.04), name


def test_the_lead_of_the_highest_correlation_is_that_of_the_table(configurations):
    loss, predictors = configurations["relative_loss"], predictors_of(configurations)
    values = {name: correlate(each, loss) for name, each in predictors.items()}
    first, second = sorted(values, key=values.get, reverse=True)[:2]
    columns = [configurations[KEYS], predictors[first].rename("first"), predictors[second].rename("second"), loss]
    table = pd.concat(columns, axis=1)

    def subtract(part):
        return correlate(part["first"], part["relative_loss"]) - correlate(part["second"], part["relative_loss"])

    pattern = r"it (is|is not) shown to be lower \(difference (\S+) \[(\S+), (\S+)\]\)"
    text = re.search(pattern, read_page("reports/trainability/trainability.md"))
    assert text is not None
    expected = [subtract(table), *resample(table, subtract)]
    assert [float(each) for each in text.groups()[1:]] == pytest.approx(expected, abs=0.01)
    assert (text[1] == "is") == (float(text[3]) > 0.0)


def test_the_shares_of_theory_are_those_of_the_table(configurations):
    page = read_page("reports/trainability/trainability.md")
    printed = {row[0]: row[1:] for row in rows_of("reports/trainability/trainability.md")}
    predicted = configurations["depth"] <= configurations["predicted_depth"]
    for threshold in (0.25, 0.5, 0.75, 0.9):
        trained = configurations["relative_loss"] <= threshold
        counts = [(predicted & trained), (~predicted & ~trained), (predicted & ~trained), (~predicted & trained)]
        right = predicted == trained
        row = printed[f"{threshold:g} of chance"]
        assert row[:4] == [str(each.sum()) for each in counts]
        share, *ends = map(int, re.findall(r"\d+", row[4]))
        assert share == round(100 * right.mean())
        low, high = resample(configurations.assign(right=right), lambda part: part["right"].mean())
        assert ends == pytest.approx([100 * low, 100 * high], abs=1.6)
        assert row[5] == f"{100 * max(trained.mean(), 1 - trained.mean()):.0f}%"
        if threshold == 0.5:
            sentence = (
                f"is right for {right.sum()} of {len(right)} ({row[4]}; one answer for all would be right for {row[5]})"
            )
            assert sentence in page
            assert f"{trained.sum()} trained, which means a loss of at most 0.5 of that at chance level" in page


# --- initializers, trained --------------------------------------------------------------------------------------------

T_OF_FOUR = 2.7764451
"""Student's t of 97.5% with four degrees of freedom: there are five seeds."""


CLAIMS = {"more accurate": ("validation_accuracy", 10, 1), "faster": ("loss", 1, -1)}
"""The column that a claim is about, the epoch, and the sign of what is better."""


@pytest.fixture(scope="module")
def history():
    return pd.read_csv(REPORTS / "training" / "history.csv")


def estimate(values):
    """Estimate a mean over five seeds: the value and the ends of its 95% interval."""
    assert len(values) == 5
    half = T_OF_FOUR * np.std(values, ddof=1) / np.sqrt(5)
    return [np.mean(values), np.mean(values) - half, np.mean(values) + half]


def numbers_in(text):
    found = re.findall(r"[+-]?\d+(?:\.\d+)?(?:×10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?", text)
    powers = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    return [float(each.replace("×10", "e").translate(powers)) for each in found]


def test_the_accuracies_and_losses_are_those_of_the_learning_curves(history):
    printed = {row[0].strip("`"): row[1:] for row in rows_of("reports/training/training.md") if len(row) == 6}
    final = history[history["epoch"] == history["epoch"].max()]
    for initializer, part in final.groupby("initializer"):
        row = printed[initializer]
        assert numbers_in(row[0]) == pytest.approx(estimate(part["validation_accuracy"]), abs=0.6e-4)
        assert numbers_in(row[1]) == pytest.approx(estimate(part["validation_loss"]), rel=0.006)
        first = history[(history["initializer"] == initializer) & (history["epoch"] == 1)]
        assert numbers_in(row[2]) == pytest.approx([first["loss"].mean()], rel=0.006)


def test_the_differences_and_verdicts_are_those_of_the_learning_curves(history):
    rows = [row for row in rows_of("reports/training/training.md") if len(row) == 4 and row[1] in CLAIMS]
    assert len(rows) == 12
    for pair, claim, verdict, text in rows:
        column, epoch, sign = CLAIMS[claim]
        part = history[history["epoch"] == epoch].pivot(index="seed", columns="initializer", values=column)
        first, second = pair.strip("`").split(" against ")
        found = estimate(part[first] - part[second])
        assert numbers_in(text)[:3] == pytest.approx(found, rel=0.006, abs=1e-5), pair
        p_value = numbers_in(text)[3]
        assert verdict == ("undecided" if p_value > 0.05 else "true" if sign * found[0] > 0 else "false"), pair
        # The interval of one pair alone is narrower than what Holm's correction over all pairs asks for.
        assert verdict == "undecided" or min(sign * found[1], sign * found[2]) > 0.0, pair
    counts = {verdict: sum(row[2] == verdict for row in rows) for verdict in ("true", "false", "undecided")}
    words = ", ".join(f"{verdict} in {count}" for verdict, count in counts.items() if count)
    assert f"of {len(rows)} parts {words}." in read_page("reports/training/training.md")


def test_the_verdict_on_the_initializers_is_that_of_the_learning_curves(history):
    final = history[history["epoch"] == history["epoch"].max()]
    means = final.groupby("initializer")["validation_accuracy"].mean()
    best = means.idxmax()
    pattern = (
        r"(\S+) has the highest accuracy, ([\d.]+)%; of the other (\d+), (\d+) are shown to be less accurate: "
        r"([^.]*\.?[^.]*)\."
    )
    found = re.search(pattern, read_page("reports/training/training.md"))
    assert found is not None
    assert (found[1], found[2], found[3]) == (best, f"{100 * means[best]:.1f}", str(len(means) - 1))
    worse = re.split(r", | and ", found[5])
    assert len(worse) == int(found[4])
    values = final.pivot(index="seed", columns="initializer", values="validation_accuracy")
    for name in means.index.drop(best):
        _, low, _ = estimate(values[best] - values[name])
        assert low > 0.0 or name not in worse, name
    assert set(worse) == set(means.nsmallest(len(worse)).index)


# --- the sweep --------------------------------------------------------------------------------------------------------


def test_the_sentence_of_the_sweep_is_that_of_its_summary():
    page = read_page("reports/sweep/sweep.md")
    summary = pd.read_csv(REPORTS / "sweep" / "summary.csv")
    kept = summary[summary["verdict"] == "preserves in both directions"]
    depths = set(summary["depth"])
    by_pair = kept.groupby(["activation", "initializer"])["depth"].agg(set).to_dict()
    sentence = page.split("# initcheck: a sweep Many networks, measured before the first step of training. ")[1].split(
        ". - "
    )[0]
    named = []
    for clause in sentence.split("; "):
        keeper, verb, rest = re.fullmatch(r"(\w+) (keeps|is shown to keep) (.*)", clause).groups()
        names, where, limit = re.fullmatch(r"(.*) (at every|beyond|at any) depth ?(\d*)", rest).groups()
        for activation in re.split(r", | and | or ", names):
            named.append(activation)
            found = {initializer: own for (each, initializer), own in by_pair.items() if each == activation}
            if keeper.lower() != "nothing":
                assert verb == "keeps" and where == "at every" and found[keeper] == depths
                continue
            reached = set().union(*found.values())
            if where == "at every":
                assert max(reached) == max(depths) and depths not in found.values()
            elif where == "beyond":
                assert max(reached) == int(limit)
            else:
                assert not reached
    assert sorted(named) == sorted(summary["activation"].unique())

    varied = summary[summary["forward_gain_low"] < summary["forward_gain_high"]]
    gains = varied.pivot(index="initializer", columns=["activation", "depth"], values="forward_gain")
    first = gains.drop_duplicates().index.union(
        summary["initializer"].unique()[~np.isin(summary["initializer"].unique(), gains.index)]
    )
    once = summary[summary["initializer"].isin(first)]
    number = (once["verdict"] == "preserves in both directions").sum()
    assert f"measurements keep the signal in both directions: {number} of {len(once)} " in page


# --- the reference study ----------------------------------------------------------------------------------------------


def test_the_gains_of_the_study_are_those_of_its_measurements():
    keys = ["initializer", "activation"]
    summary = pd.read_csv(REPORTS / "reference" / "summary.csv")
    summary = summary[summary["network"] == "mlp"].set_index(keys)
    table = pd.read_parquet(REPORTS / "reference" / "measurements.parquet")
    hidden = table[(table["network"] == "mlp") & table["layer"].str.startswith("hidden")]
    judged = 0
    for pair, part in hidden.groupby(keys):
        row = summary.loc[pair]
        for direction, column in (("forward", "preactivation_second_moment"), ("backward", "gradient_norm")):
            levels = part.pivot(index="seed", columns="position", values=column).to_numpy(dtype=np.float64)
            if not (np.isfinite(levels).all() and (levels > 0.0).all() and np.isfinite(row[f"{direction}_log_gain"])):
                continue
            ratios = levels[:, 1:] / levels[:, :-1] if direction == "forward" else (levels[:, :-1] / levels[:, 1:]) ** 2
            assert row[f"{direction}_gain"] == pytest.approx(ratios.mean(), rel=1e-6), (pair, direction)
            assert row[f"{direction}_log_gain"] == pytest.approx(np.log(ratios).mean(), rel=1e-6, abs=1e-9), pair
            judged += 1
    assert judged > 400


def test_the_scores_taken_together_are_those_of_the_tables():
    summary = pd.read_csv(REPORTS / "reference" / "summary.csv")
    table = pd.read_parquet(REPORTS / "reference" / "measurements.parquet")
    printed = {(row[0].strip("`"), row[1]): row[2:] for row in rows_of("reports/reference/report.md") if len(row) == 8}
    judged = 0
    for network in ("mlp", "mlp_64"):
        own = table[(table["network"] == network) & table["layer"].str.startswith("hidden")]
        for direction, column in (("forward", "preactivation_second_moment"), ("backward", "gradient_norm")):
            known = summary[(summary["network"] == network) & summary[f"{direction}_gain_z"].notna()]
            # What several initializers were measured of alike counts once.
            both = ["forward_gain", "backward_gain", "activation"]
            known = known.drop_duplicates(both).set_index(["initializer", "activation"])
            gains = []
            for pair in known.index:
                rows = own[(own["initializer"] == pair[0]) & (own["activation"] == pair[1])]
                levels = rows.pivot(index="seed", columns="position", values=column).to_numpy(dtype=np.float64)
                up = levels[:, 1:] / levels[:, :-1]
                gains.append((up if direction == "forward" else up**-2.0).mean(axis=1))
            squares = np.square(known[f"{direction}_gain_z"].to_numpy(dtype=np.float64))
            correlations, seeds = np.corrcoef(gains), levels.shape[0]
            # Of independent normal numbers, r squared over S seeds is 1 / (S - 1) on average.
            excess = (correlations[np.triu_indices(len(gains), 1)] ** 2 * (seeds - 1) - 1.0) / (seeds - 2)
            worth = len(gains) ** 2 / (len(gains) + 2.0 * excess.sum())
            chance = chi2.sf(squares.sum() * worth / len(gains), worth)
            row = printed[network, direction]
            assert row[0] == str(len(squares))
            assert numbers_in(row[1]) == pytest.approx([squares.sum()], rel=1e-3)
            assert numbers_in(row[2]) == pytest.approx([np.sqrt(squares.mean())], abs=0.006)
            assert numbers_in(row[3]) == pytest.approx([worth], rel=0.05)
            assert numbers_in(row[4]) == pytest.approx([chance], rel=0.1)
            judged += 1
    assert judged == 4


# --- planted defects --------------------------------------------------------------------------------------------------


def test_the_defects_that_were_found_are_those_that_were_counted():
    table = pd.read_csv(REPORTS / "diagnosis.csv")
    planted, sound = table[table["defect"].notna()], table[table["defect"].isna()]
    caused = planted["cause"].dropna()
    counts = {
        "found": (int((planted["exit_code"] == 1).sum()), len(planted)),
        "layer": (int(planted["layer"].sum()), len(planted)),
        "cause": (int(caused.sum()), len(caused)),
        "false alarm": (int((sound["exit_code"] == 1).sum()), len(sound)),
    }
    printed = {row[0]: row[1] for row in rows_of("reports/diagnosis.md") if len(row) == 4}
    for name, (hits, count) in counts.items():
        assert printed[name].startswith(f"{hits}/{count}: {100 * hits / count:.1f}% "), name


def test_the_planted_defects_are_those_that_claims_caught():
    table = pd.read_csv(REPORTS / "power.csv")
    uncaught = int((~table.assign(caught=table["verdict"].notna()).groupby("defect")["caught"].any()).sum())
    defects = table.groupby("defect")
    page = read_page("reports/power.md")
    assert f"{len(defects)} defects, {uncaught} of them caught by no claim." in page
    named = int(defects["names_it"].first().sum())
    assert f"The first red claim names {named} of {len(defects)} ({named / len(defects):.1%})" in page
    assert named >= 0.95 * len(defects)


# --- how often the statistics raise a false alarm ---------------------------------------------------------------------


def test_the_false_alarms_that_are_printed_are_those_that_were_counted():
    table = pd.read_csv(REPORTS / "calibration.csv")
    seeds = table.groupby("seed")
    runs, alarms, claims = len(seeds), int(seeds["false_alarm"].count().gt(0).sum()), int(seeds["claims"].first().sum())
    of_claims = int(table["false_alarm"].notna().sum())
    page = read_page("reports/calibration.md")
    for name, hits, count in (("of a run", alarms, runs), ("of a claim", of_claims, claims)):
        row = next(row for row in rows_of("reports/calibration.md") if row[0] == name)
        assert row[1] == f"{hits} of {count}"
        low, high = map(float, re.findall(r"[\d.e-]+", row[3]))
        # Clopper and Pearson: at either end, what was counted or more extreme has a probability of 2.5%.
        assert 1.0 - binomial_tail(hits - 1, count, low) == pytest.approx(0.025, rel=0.05)
        assert binomial_tail(hits, count, high) == pytest.approx(0.025, rel=0.1)
        if name == "of a run":
            assert f"1 false alarm in {runs} runs (95% interval {100 * low:.3f}% to {100 * high:.1f}%)" in read_page(
                "docs/decisions/0005-how-claims-are-decided.md"
            )
    assert f"{runs} runs at the base seeds {table['seed'].min()} to {table['seed'].max()}" in page
    assert f"counted was [{alarms} in {runs}](reports/calibration.md)" in read_page("README.md")
    assert f"; in {runs} runs there was {alarms}, whose cause has been removed" in read_page("docs/statistics.md")


def test_a_bound_by_design_is_never_printed_without_what_was_counted():
    for path in ("README.md", "docs/statistics.md", "docs/decisions/0005-how-claims-are-decided.md"):
        page = read_page(path)
        places = [each.start() for each in re.finditer(r"false alarm in 1,000", page)]
        assert places, path
        for place in places:
            assert re.search("design", page[place - 120 : place]), path
            assert re.search("counted|counts", page[place : place + 250]), path


def test_the_gates_of_unchanged_models_are_those_that_were_counted():
    table = pd.read_csv(REPORTS / "gate.csv")
    same = table[(table["change"] == "none") & (table["pairing"] == "fresh seeds")]
    gates, changed = same["gates"].sum(), same["changed"].sum()
    assert f"Of {gates:,} gates of unchanged models, each with fresh seeds, {changed} were called changed" in read_page(
        "docs/statistics.md"
    )
    counted = f"{changed} of [{gates:,} gates](../reports/gate.md) of unchanged models were called changed"
    assert f"With other seeds, {counted}" in read_page("docs/gate.md")
    rows = [row for row in rows_of("reports/gate.md") if len(row) == 10 and row[2].isdigit()]
    for each, row in zip(table.itertuples(), rows, strict=True):
        assert row[4:9] == [str(getattr(each, name)) for name in ("gates", "changed", "same", "inconclusive", "right")]


# --- how fast ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["benchmarks", "sweeps"])
def test_a_limit_is_called_shown_where_the_whole_interval_lies_within(name):
    results = json.loads((REPORTS / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
    printed = {row[0]: row[1:] for row in rows_of(f"reports/benchmarks/{name}.md")}
    judged = 0
    for benchmark in results["benchmarks"]:
        for label, found in benchmark["extra_info"].items():
            if not (isinstance(found, dict) and found.get("limit")):
                continue
            numbers = [float(each) for each in re.findall(r"[\d.]+", found["limit"])]
            below = found["limit"].startswith("at most")
            least = 0.0 if below else numbers[0]
            most = numbers[-1] if below or len(numbers) > 1 else math.inf
            shown = least <= found["low"] and found["high"] <= most
            assert printed[label][2] == f"{found['limit']}: {'shown' if shown else 'not shown'}"
            judged += 1
    assert judged
    if name == "sweeps":
        assert "at least 0.85: not shown" in read_page("reports/benchmarks/sweeps.md")


def test_the_workers_that_a_sweep_keeps_busy_are_those_of_the_measured_tasks():
    tasks = pd.read_csv(ROOT / "tests" / "benchmarks" / "sweep_tasks.csv")
    by_scheduler = tasks["seconds"].mean() / tasks["overhead"].iloc[0]
    by_recording = tasks["seconds"].sum() / (tasks["cells"] * tasks["recording"]).sum()
    assert f"keeps up with {by_scheduler:,.0f} workers, and the process that records with {by_recording:,.0f}:" in (
        read_page("docs/scale.md")
    )


def test_the_times_of_the_simulated_sweep_never_rise_with_the_workers():
    rows = [row for row in rows_of("docs/scale.md") if row[0][:1].isdigit()]
    units = {"s": 1.0, "min": 60.0, "h": 3600.0}
    seconds = [float(row[1].split()[0]) * units[row[1].split()[1]] for row in rows]
    workers = [int(row[0].replace(",", "")) for row in rows]
    assert all(later < earlier for earlier, later in pairwise(seconds))
    for each, count, row in zip(seconds, workers, rows, strict=True):
        assert seconds[0] / each / count == pytest.approx(float(row[2].rstrip("%")) / 100.0, rel=0.02)


def test_the_page_on_training_counts_the_configurations(configurations):
    assert f"has the results of {len(configurations)} configurations." in read_page("docs/training.md")


def test_the_chance_level_of_ten_classes_is_printed_as_an_example_of_any_number():
    words = f"of C classes that are equally frequent is ln C, for ten of them {math.log(10):.2f}"
    assert words in read_page("docs/training.md")

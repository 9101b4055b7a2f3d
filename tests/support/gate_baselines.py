"""Baselines made up for tests: figures drawn from a normal law, without Keras."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from initcheck.audit.findings import Conditions, LayerFacts
from initcheck.checking.gate.baseline import Baseline, FindingRecord, Metric, Recipe, SiteRecord, WeightRecord
from initcheck.probe.paths import snake_case

SEEDS = 16
KERNEL = WeightRecord(
    kind="Dense",
    role="kernel",
    shape=(64, 64),
    dtype="float32",
    trainable=True,
    initializer="HeNormal",
    default_initializer="GlorotUniform",
    fan_in=64.0,
    fan_out=64.0,
    mode="fan_in",
    variance=2 / 64,
    scale=Metric((0.0,) * SEEDS),
)
VERSIONS = {"initcheck": "0.1.0", "keras": "3.15.1", "numpy": "2.3.0", "python": "3.11.9", "tensorflow": "2.21.0"}
CONDITIONS = Conditions("32 normal samples", "a" * 64, "a random functional", "float32")


def make_baseline(layers=4, seeds=range(SEEDS), spread=0.02, start=0, draw=0, **changes):
    """Make a baseline of a chain of layers.

    Args:
        layers: how many.
        seeds: the seeds.
        spread: standard deviation of a metric from seed to seed.
        start: number of the first layer.
        draw: equal ones have equal figures.
        changes: other fields.
    """
    random = np.random.default_rng(draw)  # a number or several
    seeds = tuple(seeds)

    def metric(level):
        return Metric(tuple(round(float(each), 6) for each in random.normal(level, spread, len(seeds))))

    weights, sites = {}, {}
    for layer in range(start, start + layers):
        weights[f"dense_{layer}/kernel"] = replace(KERNEL, scale=metric(-1.7))
        weights[f"dense_{layer}/bias"] = replace(
            KERNEL,
            role="bias",
            shape=(64,),
            initializer="Zeros",
            default_initializer="Zeros",
            fan_in=None,
            fan_out=None,
            mode="",
            variance=0.0,
            scale=Metric(("zero",) * len(seeds)),
        )
        steps = {"forward": metric(0.35), "activation": metric(-0.35), "backward": metric(0.0)}
        sites[f"dense_{layer}"] = SiteRecord("Dense", steps, (f"dense_{layer - 1}" if layer > start else "input",))
    fields = {
        "label": "models:plain",
        "recipe": Recipe(model="models:plain"),
        "seeds": seeds,
        "versions": VERSIONS,
        "conditions": CONDITIONS,
        "findings": (),
        "weights": weights,
        "sites": sites,
        "layers": {
            name: LayerFacts("Dense", {"dtype": "float32", "units": 64, "activation": "relu"}) for name in sites
        },
    }
    found = {**fields, **changes}
    pairs = (FindingRecord(each[0], (each[1],)) if isinstance(each, tuple) else each for each in found["findings"])
    return Baseline(**{**found, "findings": tuple(pairs), "calls": tuple(found["sites"])})


def shift(baseline, path, by, quantity="scale"):
    """Return a baseline in which the logarithms of one metric are larger by an amount."""

    def moved(metric):
        return Metric(tuple(each + by for each in metric.logs))

    if quantity == "scale":
        weight = baseline.weights[path]
        return replace(baseline, weights={**baseline.weights, path: replace(weight, scale=moved(weight.scale))})
    site = baseline.sites[path]
    metrics = {**site.metrics, quantity: moved(site.metrics[quantity])}
    return replace(baseline, sites={**baseline.sites, path: replace(site, metrics=metrics)})


def change_weight(baseline, path, **changes):
    """Return a baseline in which something of one weight is another."""
    return replace(baseline, weights={**baseline.weights, path: replace(baseline.weights[path], **changes)})


def rename(baseline, before, after):
    """Return a baseline in which one layer and its weights bear another name."""
    return replace(
        baseline,
        weights={path.replace(f"{before}/", f"{after}/"): weight for path, weight in baseline.weights.items()},
        sites={
            after if path == before else path: replace(
                site, inputs=tuple(after if each == before else each for each in site.inputs)
            )
            for path, site in baseline.sites.items()
        },
        calls=tuple(after if path == before else path for path in baseline.calls),
        layers={after if path == before else path: layer for path, layer in baseline.layers.items()},
    )


def change_layer(baseline, path, code="", **settings):
    """Return a baseline in which settings of one layer, or its code, are others."""
    layer = baseline.layers[path]
    changed = replace(layer, config={**layer.config, **settings}, code=code or layer.code)
    return replace(baseline, layers={**baseline.layers, path: changed})


def make_chain(layers, shared=None):
    """Make a baseline of layers one after the other, named as Keras does: ``Dense relu 64`` or the name of a class.

    Args:
        shared: from the place of a call to that of the call of the same layer before.
    """
    known, numbers, sites, weights, keys = {}, Counter(), {}, {}, []
    for place, each in enumerate(layers):
        kind, *settings = each.split()
        if shared and place in shared:
            name = keys[shared[place]]
            key = f"{name}#2"
        else:
            base = snake_case(kind)
            key = name = f"{base}_{numbers[base]}" if numbers[base] else base
            numbers[base] += 1
            known[name] = LayerFacts(
                kind, {"dtype": "float32", **dict(zip(("activation", "units"), settings, strict=False))}
            )
            if settings:
                weights[f"{name}/kernel"] = replace(KERNEL, shape=(64, int(settings[1])))
        metrics = {quantity: Metric((0.0,) * SEEDS) for quantity in ("forward", "backward")}
        sites[key] = SiteRecord(kind, metrics, (keys[-1] if keys else "input",))
        keys.append(key)
    return replace(make_baseline(), sites=sites, weights=weights, layers=known, calls=tuple(sites))

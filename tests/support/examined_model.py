"""Results of checking models that never were: levels as random walks of known rates, judged by the real rules.

No Keras is needed. The graph is a plain stack, or a stack of residual blocks whose main path are the sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from model_measurement import make_measurement
from numpy.typing import NDArray

from initcheck.audit.findings import CheckResult, Conditions, Edit, Finding, Fix, Measured
from initcheck.audit.limits import Limits
from initcheck.audit.paths import SiteNode, find_paths
from initcheck.audit.proofs import LossCurves, Proof
from initcheck.audit.rules import RULES
from initcheck.audit.total_change import judge_paths
from initcheck.core.columns import MEASUREMENT_COLUMNS
from initcheck.probe.coverage import Coverage, Gap
from initcheck.probe.places import CallSite

HOSTILE = "<script>alert('x')</script>|`**b**`$x^2$"
"""A layer's name that tries to be HTML, a table's border, code, Markdown and mathematics."""


JUDGED = ("IC101", "IC102", "IC201", "IC202", "IC603", "IC501", "IC303", "IC304", "IC502", "IC103")
"""The rules that need the table alone."""


@dataclass(frozen=True)
class Stack:
    """A network of which the levels are made up.

    Attributes:
        layers: layers with weights, the head included; with blocks, two in each block.
        forward: factor of the second moment from one followed site to the next.
        backward: factor of the squared gradient norm from one followed site back to the one before.
        spread: standard deviation over seeds of each step, in nats.
        seeds: draws.
        blocks: residual blocks instead of a plain stack.
        routed: whether anything reaches the outputs; without, there is no route.
        names: names of the first layers.
        dead_from: from this position on, the signal is exactly zero; None for nowhere.
        nonfinite_from: from this position on, it is not finite.
    """

    layers: int = 6
    forward: float = 1.0
    backward: float = 1.0
    spread: float = 0.02
    seeds: int = 8
    blocks: bool = False
    routed: bool = True
    names: tuple[str, ...] = ()
    dead_from: int | None = None
    nonfinite_from: int | None = None


def make_result(
    stack: Stack | None = None,
    *,
    extra: Iterable[Finding] = (),
    gaps: Sequence[Gap] = (),
    waived: Sequence[Finding] = (),
    limits: Limits | None = None,
    model: str = "package.module:factory",
    fix: Fix | None = None,
    **changes: object,
) -> CheckResult:
    """Make the result of a check; findings are those of the real rules, and some more.

    Args:
        stack: the network; ``changes`` are its attributes instead.
        extra: more findings.
        gaps: what was not measured.
        waived: findings left out on request.
        limits: the limits.
        model: name of the model.
        fix: given to the first finding.
        changes: attributes of :class:`Stack`.
    """
    stack = stack or Stack(**changes)  # type: ignore[arg-type]
    limits = limits or Limits()
    nodes = _nodes(stack)
    table = _table(stack, nodes)
    paths = judge_paths(table, nodes, find_paths(nodes), limits)
    measurement = make_measurement(table=table, nodes=nodes, paths=paths, limits=limits)
    found = [finding for code in JUDGED for finding in RULES[code].find(measurement)]
    findings = sorted([*found, *extra], key=lambda each: list(RULES).index(each.code))
    if fix is not None:
        findings[0] = replace(findings[0], fix=fix, tried=1)
    return CheckResult(
        model=model,
        findings=tuple(findings),
        waived=tuple(waived),
        coverage=Coverage(calls=len(nodes) - 1, layers=len(nodes) - 1, weights=2 * stack.layers, gaps=tuple(gaps)),
        paths=tuple(paths),
        nodes=tuple(nodes),
        table=table,
        weights=pd.DataFrame({"seed": [], "weight": []}),
        facts=(),
        seeds=tuple(range(stack.seeds)),
        redrawn=stack.seeds > 1,
        conditions=Conditions(
            batch="32 samples of shape (64,), standard normal",
            batch_digest="0" * 64,
            loss="a fixed random linear functional of the outputs",
            dtype_policy="float32",
        ),
        limits=limits,
        allow_inconclusive=False,
        versions={"initcheck": "0.1.0", "keras": "3.15.1"},
        seconds=4.2,
    )


def make_fix(layer: str = "layer_1") -> Fix:
    """Make a fix of one layer that cures its problem."""
    quantity = "square a layer"
    site = CallSite("/models.py", "models.py", 14)
    old = "keras.initializers.RandomNormal(stddev=0.0001)"
    return Fix(
        (Edit(layer, "kernel_initializer", old, '"he_normal"', site),),
        Measured(quantity, 0.3, 0.29, 0.31, 1.0, 8),
        Measured(quantity, 1.0, 0.97, 1.03, 1.0, 8),
        cures=True,
        draws=8,
    )


def make_proof(
    *, change: str = 'kernel_initializer="he_normal" in layer_1', failed: int = 0, problem: int = 0
) -> Proof:
    """Make a proof of 20 steps and 6 draws, in which the model with the fix learns, and the other does not.

    Args:
        change: the fix in words; empty for the model as it is alone.
        failed: draws of the model as it is whose loss is not finite from step 3 on.
        problem: place of the problem that it is about.
    """
    noise = np.random.default_rng(0).normal(0.0, 0.05, (2, 6, 21))
    as_it_is = 2.3 * np.exp(noise[0])
    as_it_is[:failed, 3:] = np.nan
    fixed = LossCurves(2.3 * np.exp(noise[1] - np.linspace(0.0, 3.0, 21))) if change else None
    curves = LossCurves(as_it_is)
    return Proof(
        tuple(range(6)), 20, 20, "Adam", "on a made task", curves, fixed, 3.0, problems=(problem,), change=change
    )


KINDS: dict[str, dict[str, Any]] = {
    "healthy": {},
    "vanishing": {"forward": 0.2, "backward": 0.2},
    "branches": {"blocks": True, "layers": 12},
    "one draw": {"seeds": 1, "forward": 0.2},
    "no route": {"routed": False},
    "dead": {"dead_from": 3},
    "not finite": {"nonfinite_from": 3},
    "deep": {"layers": 400, "forward": 0.9},
    "one layer": {"layers": 1},
    "undecided": {"layers": 6, "forward": 0.3162, "spread": 0.3},
}
"""Every kind of result, as the changes that make it."""


def _nodes(stack: Stack) -> list[SiteNode]:
    nodes = [SiteNode("inputs", "Input", False, False, ())]

    def add(kind: str, weighted: bool, *parents: int) -> int:
        made = sum(node.weighted for node in nodes)
        fallback = f"layer_{made}" if weighted else f"{kind.lower()}_{len(nodes)}"
        name = stack.names[made] if weighted and made < len(stack.names) else fallback
        nodes.append(SiteNode(name, kind, weighted, False, parents))
        return len(nodes) - 1

    last = 0
    if stack.blocks:
        last = add("Dense", True, last)
        for _ in range((stack.layers - 2) // 2):
            inner = add("Dense", True, add("Dense", True, last))
            last = add("Add", False, last, inner)
        last = add("Dense", True, last)
    else:
        for _ in range(stack.layers):
            last = add("Dense", True, last)
    if stack.routed:
        end = nodes[last]
        nodes[last] = SiteNode(end.layer, end.kind, end.weighted, True, end.parents)
    return nodes


def _table(stack: Stack, nodes: Sequence[SiteNode]) -> pd.DataFrame:
    generator = np.random.default_rng(20261124)
    shape = (stack.seeds, len(nodes))
    step = np.asarray([0.0 if _in_branch(position, nodes) else 1.0 for position in range(len(nodes))])
    places = np.cumsum(step) - step[0]
    forward = _walk(places * math.log(stack.forward), shape, stack.spread, generator)
    backward = _walk((places[-1] - places) * math.log(stack.backward), shape, stack.spread, generator)
    branch = np.where(step == 0.0, math.log(1e-3), 0.0)
    rows = []
    for seed in range(stack.seeds):
        for position, node in enumerate(nodes):
            moment = float(np.exp(forward[seed, position] + branch[position]))
            nonfinite = 0.0
            if stack.dead_from is not None and position >= stack.dead_from:
                moment = 0.0
            if stack.nonfinite_from is not None and position >= stack.nonfinite_from:
                moment, nonfinite = math.nan, 1.0
            activated = node.weighted
            rows.append(
                {
                    "network": "made up",
                    "batch_size": 32,
                    "seed": seed,
                    "layer": node.layer,
                    "call": 0,
                    "position": position,
                    "kind": node.kind,
                    "units": 64,
                    "preactivation_second_moment": moment if activated else None,
                    "activation_second_moment": moment / 2.0 if activated else moment,
                    "activation_variance": moment / 3.0,
                    "activation_batch_variance": moment / 4.0,
                    "zero_fraction": 0.5 if activated else 0.0,
                    "dead_fraction": 0.0,
                    "nonfinite_fraction": nonfinite,
                    "gradient_norm": float(np.exp((backward[seed, position] + branch[position]) / 2.0)),
                }
            )
    dtypes = {column.name: column.dtype for column in MEASUREMENT_COLUMNS}
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)


def _in_branch(position: int, nodes: Sequence[SiteNode]) -> bool:
    """Tell whether a site lies between a sum and the place where its skip connection begins."""
    return any(
        node.kind == "Add" and node.parents[0] < position < place for place, node in enumerate(nodes) if node.parents
    )


def _walk(
    mean: NDArray[np.float64], shape: tuple[int, int], spread: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    noise = spread * generator.standard_normal(shape).cumsum(axis=1)
    return mean + noise

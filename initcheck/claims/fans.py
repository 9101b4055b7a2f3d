"""Claims on fans: what an initializer assumes of a layer, against what the layer does.

Where Keras counts other units than the layer has, the sentence is asserted as refuted, and a second claim says which
units Keras counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from initcheck.claims import fans_computation, fans_matrices, fans_outputs
from initcheck.claims.base import Claim
from initcheck.claims.decisions import EstimateWithin
from initcheck.claims.fans_bench import MARGIN, SCALINGS, LayerVariance, Mode, Scaling
from initcheck.claims.fans_cases import LayerKind, layer_kinds
from initcheck.claims.rates import CLAIM_FALSE_ALARM

_DECIDE: Final = EstimateWithin("variance over what the fans say", 1.0 - MARGIN, 1.0 + MARGIN)
_COUNTED: Final[dict[Mode, str]] = {
    "fan_in": "its inputs",
    "fan_out": "its outputs",
    "fan_avg": "the mean of its inputs and outputs",
}
_PAPERS: Final = {
    "glorot": "Glorot & Bengio, 2010, AISTATS, eq. 12 and 16",
    "he": "He, Zhang, Ren & Sun, 2015, ICCV, eq. 10",
    "lecun": "LeCun, Bottou, Orr & Müller, 1998, Efficient BackProp, section 4.6",
}


def claims() -> tuple[Claim, ...]:
    """List the claims of this topic."""
    layers = tuple(claim for kind in layer_kinds() for scaling in SCALINGS for claim in _claims(kind, scaling))
    return (*layers, *fans_computation.claims(), *fans_matrices.claims(), *fans_outputs.claims())


def _claims(kind: LayerKind, scaling: Scaling) -> tuple[Claim, ...]:
    experiment = LayerVariance(kind.slug, scaling, kind.cases)
    wrong = scaling.mode in kind.wrong
    # A sentence that holds is false where other units are counted; one that is false holds with the right variance.
    other: Mode = "fan_in" if scaling.mode == "fan_avg" else "fan_out"
    defective = replace(experiment, mode=other)
    name = "".join(word.capitalize() for word in scaling.slug.split("_"))
    source = f"Keras, keras.initializers.{name} and keras.layers.{kind.source}; {_PAPERS[scaling.slug.split('_')[0]]}"
    outputs = any(case.position is not None for case in kind.cases)
    condition = "; ".join(case.name for case in kind.cases) + (
        "; independent inputs of mean square one, outputs away from the borders" if outputs else ""
    )
    stated = f"{name} gives weights of variance {scaling.scale:g} over {_COUNTED[scaling.mode]}"
    measured = ", and outputs of the variance that follows" if outputs else ""
    claim = Claim(
        f"fans.{kind.slug}.{scaling.slug}",
        f"In {kind.words}, {stated}{measured}.",
        source,
        condition,
        experiment,
        _DECIDE,
        replace(experiment, corrected=True) if wrong else defective,
        "kernels rescaled to the units that the layer really has" if wrong else f"kernels scaled by {_COUNTED[other]}",
        expected="refuted" if wrong else "holds",
        # Two initializers show the fans of a layer; the others, and three dimensions, show that none is an exception.
        slow=scaling.slug not in ("glorot_uniform", "he_normal") or "3d" in kind.slug,
        false_alarm=CLAIM_FALSE_ALARM,
        rows=kind.rows,
    )
    if not wrong:
        return (claim,)
    so = replace(
        claim,
        id=f"{claim.id}_as_counted",
        statement=f"In {kind.words}, {name} scales with the units that the shape of the kernel says, "
        f"so that {kind.outcome}.",
        experiment=replace(experiment, by="shape"),
        control=replace(experiment, by="shape", corrected=True),
        expected="holds",
    )
    return claim, so

"""Findings: what is wrong with a model, where, by how much, and what would mend it.

Every finding bears a code of :mod:`initcheck.audit.findings`. A finding is either *wrong*, which makes ``initcheck check``
exit with 1, or *unjudged*: something that could not be measured or decided, which makes it exit with 2. Neither is
ever silently green.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final, Literal

_IMPORT = "import keras\n\n"


def _text(what: str, why: str, example: str, fix: str, source: str) -> dict[str, str]:
    return {"what": what, "why": why, "example": _IMPORT + example.strip() + "\n", "fix": fix, "source": source}


_PLAIN_STACK = """
model = keras.Sequential([keras.Input((64,))])
for _ in range({depth}):
    model.add(keras.layers.Dense(64, activation="{activation}", kernel_initializer={initializer}))
"""


def _stack(depth: int, activation: str, initializer: str) -> str:
    return _PLAIN_STACK.format(depth=depth, activation=activation, initializer=initializer)


TEXTS: Final = {
    "IC101": _text(
        "Along the trunk of the model, the layers that every path from its input to its outputs passes (and along each "
        "branch of four or more layers with weights), the second moment of the pre-activations falls from the first "
        "to the last layer by more than the limit: a factor of 100 in all (10 in standard deviations), or 5% a layer "
        "where that is more. Where a layer's output goes into a normalization and nowhere else, what comes out of that "
        "is followed. The 95% interval over seeds lies wholly beyond the limit. A single step that loses more than "
        "the factor for good is reported too.",
        "The output hardly depends on the input, gradients of the last layers are small with it, and in float16 the "
        "signal is lost. Training then begins with a long plateau, or never begins.",
        _stack(12, "relu", '"glorot_uniform"'),
        "Give layers before a ReLU the initializer HeNormal or HeUniform; before SELU LecunNormal; or put a "
        "normalization layer between the layers.",
        "He et al. 2015, section 2.2; Glorot and Bengio 2010, section 4.2.1",
    ),
    "IC102": _text(
        "As IC101, in the other direction: the second moment of the pre-activations grows by more than the limit.",
        "Outputs and gradients are huge in the first step: a softmax is certain of a random class, the loss starts far "
        "above that of chance, and the first update throws the weights away. In float16 the signal overflows.",
        _stack(8, "relu", "keras.initializers.RandomNormal(stddev=1.0)"),
        "Let the standard deviation shrink with the number of inputs, as HeNormal and GlorotUniform do; in residual "
        "networks scale the last layer of each branch by 1 / sqrt(number of blocks).",
        "He et al. 2015, section 2.2; Hanin and Rolnick 2018, theorem 5; Zhang et al. 2019 for residual networks",
    ),
    "IC103": _text(
        "At the last layer with weights before the outputs, the variance across the samples of the batch is less than "
        "1% of the second moment, in every layer from the first one named: whatever the input is, the network says "
        "nearly the same.",
        "Inputs that cannot be told apart cannot be classified: the gradient only moves what all inputs share. Pooled "
        "statistics look healthy all the while.",
        _stack(12, "sigmoid", '"glorot_uniform"'),
        "Choose an activation function with mean zero (tanh, SELU), the initializer that fits it, or a normalization "
        "layer, which takes the common part away.",
        "Schoenholz et al. 2017, section 3 (the correlation's fixed point)",
    ),
    "IC201": _text(
        "Along the same layers, from the outputs back to the inputs, the squared norm of one sample's dL/dz falls by "
        "more than the limit of IC101.",
        "The first layers learn more slowly than the last ones by that factor, or not at all.",
        _stack(8, "sigmoid", '"glorot_uniform"'),
        "Choose an initializer that fits the activation function; replace saturating activation functions; add skip "
        "connections or normalization.",
        "Glorot and Bengio 2010, section 4.2; Schoenholz et al. 2017, section 4",
    ),
    "IC202": _text(
        "As IC201, in the other direction: gradients grow on their way to the inputs by more than the limit. Each "
        "normalization layer that takes the mean away may let them grow by a factor of pi / (pi - 1) of its own; up to "
        "50 of them count where no skip connection leads around.",
        "The first layers are thrown about by the first steps, while the last ones hardly move; training needs a tiny "
        "learning rate or gradient clipping.",
        _stack(8, "tanh", "keras.initializers.RandomNormal(stddev=0.5)"),
        "Reduce the variance of the weights to that of an initializer that fits the activation function. With "
        "normalization layers: some growth with depth belongs to them; skip connections tame it.",
        "Schoenholz et al. 2017, section 4; Yang et al. 2019 for batch normalization",
    ),
    "IC203": _text(
        "The gradient of a trainable weight is exactly zero for every seed, though the weight takes part in "
        "the outputs.",
        "The weight cannot learn from this batch: all its units are dead, or what follows is multiplied by zero.",
        """
model = keras.Sequential([keras.Input((16,))])
model.add(keras.layers.Dense(32, activation="relu"))
model.add(keras.layers.Dense(4, kernel_initializer="zeros"))
""",
        "Draw the following weights at random. Where a branch starts at zero on purpose (the last scale of a residual "
        "branch), its inner weights begin to move after the first step: waive them.",
        "Goodfellow, Bengio and Courville 2016, section 8.4; Goyal et al. 2017, section 5.1 for zeros on purpose",
    ),
    "IC301": _text(
        "Two weights hold the same numbers, or multiples of them, though they are not one shared weight: the whole, or "
        "the longest common beginning in the order in which they are drawn.",
        "Layers that should be independent start as copies: in attention query and key agree, so that every position "
        "looks at itself; both directions of a recurrent layer do the same. Theory assumes independence.",
        """
inputs = keras.Input((10, 32))
outputs = keras.layers.MultiHeadAttention(
    num_heads=4, key_dim=8, kernel_initializer=keras.initializers.GlorotUniform(seed=1)
)(inputs, inputs)
model = keras.Model(inputs, outputs)
""",
        "Seed the whole program with keras.utils.set_random_seed instead of single initializers, give every layer its "
        "own instance with its own seed, or share one keras.random.SeedGenerator.",
        "Keras documentation of the initializers' argument seed; Glorot and Bengio 2010 for the independence assumed",
    ),
    "IC302": _text(
        "Two or more units of a layer have equal incoming weights, and equal gradients of them.",
        "They compute the same and receive the same updates, so they stay one unit however long they are trained.",
        _stack(3, "tanh", '"ones"'),
        "Draw the weights at random. Biases may be constant.",
        "Goodfellow, Bengio and Courville 2016, section 8.4",
    ),
    "IC303": _text(
        "More units of a layer than the limit (50%) are exactly zero on the whole batch: the 95% interval over seeds "
        "lies wholly above it.",
        "A unit that is zero on every sample has no gradient and does not learn.",
        """
model = keras.Sequential([keras.Input((64,))])
model.add(keras.layers.Dense(64, activation="relu", bias_initializer=keras.initializers.Constant(-8.0)))
model.add(keras.layers.Dense(4))
""",
        "Use biases of zero and inputs of mean zero; replace ReLU by LeakyReLU, ELU or GELU.",
        "Lu et al. 2019, section 2",
    ),
    "IC304": _text(
        "More of a layer's outputs than the limit (50%) lie within 2.5% of the range from one of the two "
        "ends of a bounded "
        "activation function: the 95% interval over seeds lies wholly above it.",
        "There the derivative is nearly zero and the gradient dies.",
        _stack(4, "tanh", "keras.initializers.RandomNormal(stddev=1.0)"),
        "Reduce the variance of the weights (GlorotUniform for tanh and sigmoid), or scale the inputs to variance 1.",
        "Glorot and Bengio 2010, section 3.1",
    ),
    "IC401": _text(
        "The initializer scales with a number of inputs or outputs that it reads off the weight's shape, and the layer "
        "really sums another number: the variance of the layer's sums is off by the ratio. Reported from a "
        "factor of 2.",
        "The gain that the initializer promises is not the one that the layer has.",
        """
model = keras.Sequential([keras.Input((16, 16, 32))])
model.add(keras.layers.DepthwiseConv2D(3, depthwise_initializer="he_normal"))
""",
        "Give the layer VarianceScaling with the scale that undoes the ratio.",
        "Keras issue tracker on compute_fans; He et al. 2015, equation 7 for the fan that counts",
    ),
    "IC501": _text(
        "A layer's output, or what its activation function receives, is inf or NaN.",
        "Nothing behind it can be measured, and nothing can be learned.",
        _stack(60, "linear", "keras.initializers.RandomNormal(stddev=100.0)"),
        "Find the first layer named here: reduce the variance of its weights, or compute it in float32.",
        "IEEE 754",
    ),
    "IC502": _text(
        "More than 1% of the values of a layer's outputs or of its gradients lie outside the range of float16: above "
        "65504, or so small that they turn to zero, which is below 2^-25 (3e-8) for outputs and, at the loss scale of "
        "2^15 that Keras begins with, below 2^-40 (9e-13) for gradients. bfloat16 has the range of float32.",
        "In mixed precision on float16 they become inf or zero. Gradients are those of the loss in use.",
        _stack(12, "relu", "keras.initializers.RandomNormal(stddev=1.0)"),
        "Mend the propagation first; else use bfloat16, or loss scaling for gradients.",
        "Micikevicius et al. 2018, section 3.2",
    ),
    "IC601": _text(
        "A layer call or a weight was not measured, with the reason.",
        "What was not measured is not healthy: nothing is known of it.",
        """
class Scaled(keras.layers.Layer):
    def build(self, shape):
        self.scale = keras.Variable(keras.random.uniform((shape[-1],)))

    def call(self, inputs):
        return inputs * self.scale


model = keras.Sequential([keras.Input((8,)), Scaled(), keras.layers.Dense(2)])
""",
        "Measure it alone, or accept it by name: --waive LAYER.",
        "initcheck's own rule: coverage is a verdict",
    ),
    "IC602": _text(
        "A trainable weight has no path to the loss: its gradient does not exist.",
        "It is saved, regularized and counted, and never learns: a layer that is not called, a branch that is "
        "cut off by "
        "stop_gradient, or an output that is not returned.",
        """
class Forgetful(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(8)
        self.forgotten = keras.layers.Dense(8)

    def build(self, shape):
        self.first.build(shape)
        self.forgotten.build(shape)

    def call(self, inputs):
        return self.first(inputs)


model = Forgetful()
model.build((None, 4))
""",
        "Call the layer, return the output, or set trainable to False where it is meant so.",
        "initcheck's own rule; Keras warns of it in fit as 'Gradients do not exist for variables'",
    ),
    "IC603": _text(
        "The interval over seeds reaches across a limit: neither healthy nor wrong is shown.",
        "Inconclusive is not a pass.",
        _stack(14, "relu", "keras.initializers.VarianceScaling(1.4, 'fan_in', 'truncated_normal')"),
        "Draw more seeds: the message says how many would decide. Or accept it: --allow-inconclusive.",
        "Schuirmann 1987 (two one-sided tests)",
    ),
}


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        code: the stable code, ``IC`` and three digits; the first digit is the family.
        name: the stable name.
        rank: what is told first: 0 is the worst.
        what: what the finding says, with the definition and the limit.
        why: why it matters.
        example: Python code that makes a ``model`` with this finding.
        fix: what to do.
        source: where the rule comes from (author, year).
    """

    code: str
    name: str
    rank: int
    what: str
    why: str
    example: str
    fix: str
    source: str


FAMILIES: Final = {
    "IC1": "forward signal",
    "IC2": "gradients",
    "IC3": "weights and units",
    "IC4": "fans",
    "IC5": "numerical range",
    "IC6": "coverage",
}
"""Families of findings by the start of their codes."""

_ORDER: Final = (
    ("IC501", "non-finite"),
    ("IC101", "vanishing-activations"),
    ("IC102", "exploding-activations"),
    ("IC201", "vanishing-gradients"),
    ("IC202", "exploding-gradients"),
    ("IC203", "zero-gradients"),
    ("IC302", "symmetric-units"),
    ("IC301", "identical-weights"),
    ("IC602", "unused-weights"),
    ("IC103", "collapsed-samples"),
    ("IC303", "dead-units"),
    ("IC304", "saturated-units"),
    ("IC401", "fan-mismatch"),
    ("IC502", "low-precision-range"),
    ("IC601", "unmeasured"),
    ("IC603", "undecided"),
)

RULES: Final = {code: Rule(code=code, name=name, rank=rank, **TEXTS[code]) for rank, (code, name) in enumerate(_ORDER)}
"""All rules by code."""


Severity = Literal["wrong", "unjudged"]

UNJUDGED_CODES: Final = frozenset({"IC601", "IC603"})


@dataclass(frozen=True)
class Measured:
    """The figure behind a finding.

    Attributes:
        quantity: what was measured, in words.
        value: the mean over seeds, or the figure itself where seeds do not come into it.
        low: lower end of its 95% interval over seeds; NaN where there is none.
        high: upper end.
        limit: the limit that it was held against; NaN where none applies.
        seeds: how many seeds; 1 for weights measured as they are, 0 for what needs no measurement.
    """

    quantity: str
    value: float
    low: float = math.nan
    high: float = math.nan
    limit: float = math.nan
    seeds: int = 0


@dataclass(frozen=True)
class Remedy:
    """A change that was tried on a copy of the model, and what it did.

    Attributes:
        change: what to change, in words.
        code: the code to write.
        before: the figure of the finding before the change.
        after: the same figure after it.
        solved: whether the finding is gone after it.
    """

    change: str
    code: str
    before: Measured
    after: Measured
    solved: bool


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that could not be judged.

    Attributes:
        code: such as ``IC101``.
        layer: path of the first offending layer in order of execution, or of the offending weight; empty for the whole.
        message: what is wrong there, in one sentence that holds the figure.
        measured: the figure with its interval and limit; None where there is no figure.
        layers: all layers or weights that it holds for, the first one included.
        remedy: a change that was tried and helped; None where none was tried or none helped.
    """

    code: str
    layer: str
    message: str
    measured: Measured | None = None
    layers: tuple[str, ...] = ()
    remedy: Remedy | None = None

    @property
    def name(self) -> str:
        """The name of its rule, such as ``vanishing-activations``."""
        return RULES[self.code].name

    @property
    def severity(self) -> Severity:
        """Whether something is wrong, or could not be judged."""
        return "unjudged" if self.code in UNJUDGED_CODES else "wrong"

    def with_remedy(self, remedy: Remedy) -> Finding:
        """Return the same finding with a remedy."""
        return replace(self, remedy=remedy)


def rank_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Put the worst first: by the rank of the rule, then by code."""
    return tuple(sorted(findings, key=lambda each: (RULES[each.code].rank, each.code)))


def select_findings(
    findings: Iterable[Finding], select: Sequence[str] = (), ignore: Sequence[str] = ()
) -> tuple[Finding, ...]:
    """Keep the findings that are asked for, as ruff does: the longest prefix of a code or name that fits decides.

    Args:
        findings: the findings.
        select: prefixes of codes (``IC1``), or names; empty selects all.
        ignore: likewise, of what is left out.
    """

    def longest(prefixes: Sequence[str], finding: Finding) -> int:
        fitting = [each for each in prefixes if matches_rule(each, finding.code)]
        whole = len(finding.code)
        return max((len(each) if finding.code.startswith(each) else whole for each in fitting), default=-1)

    return tuple(
        finding for finding in findings if (longest(select, finding) if select else 0) > longest(ignore, finding)
    )


def waive_layers(findings: Iterable[Finding], patterns: Sequence[str]) -> tuple[Finding, ...]:
    """Leave out findings all of whose layers are waived.

    Args:
        findings: the findings.
        patterns: paths of layers or weights, with the wildcards of ``fnmatch``; a layer's path stands for all in it.
    """

    def waived(layer: str) -> bool:
        return any(fnmatchcase(layer, each) or fnmatchcase(layer, f"{each}/*") for each in patterns)

    kept = []
    for finding in findings:
        layers = finding.layers or (finding.layer,)
        remaining = tuple(layer for layer in layers if not waived(layer))
        if remaining:
            first = finding.layer if not waived(finding.layer) else remaining[0]
            kept.append(replace(finding, layer=first, layers=remaining) if finding.layers else finding)
    return tuple(kept)


def matches_rule(prefix: str, code: str) -> bool:
    """Tell whether a prefix of codes, or a name, means a rule."""
    return bool(prefix) and (code.startswith(prefix) or RULES[code].name == prefix)

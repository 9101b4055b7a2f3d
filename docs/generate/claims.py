"""The page that says which claims cover each row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from initcheck.core.errors import name_unknown
from initcheck.spec.catalogue import TOPICS, catalogue, claims_not_there
from initcheck.spec.claim import Claim

_BACKEND: Final = "tensorflow"  # the page is the same wherever it is written

_INTRODUCTION = """\
<!-- Written by: tox run -e docs -->

# What the specification covers

Each row is a statement about weight initialization that some document makes, or a surprise that was found. The claims
are those that `initcheck spec` tests. Braces group claims that differ only in their subject. A claim that is *refuted*
is known to be false, and has to be shown false; a claim that *holds* has to be shown true. If a row has both, the
one that holds says what is really true. `--json` prints the results, and `--report` writes them as `spec.json`, in the
form of [spec_schema.json](../initcheck/spec/spec_schema.json).

"""


GROUPS: Final = {
    "A": "Distribution",
    "B": "Fans: what the initializer assumes against what the layer does",
    "L": "Layer defaults",
    "C": "Seeds and determinism",
    "D": "Dtypes",
    "E": "Forward signal",
    "F": "Backward signal",
    "G": "Symmetry",
    "H": "Training",
    "NB": "The notebook that the project began with",
    "S": "Surprises in Keras",
}
"""The letters that a row begins with, and what these rows are about."""

ROWS: Final = {
    "A1": "RandomNormal draws from N(0, 0.05²) by default",
    "A2": "the `stddev` of TruncatedNormal is the standard deviation of its values",
    "A3": "TruncatedNormal draws values beyond two `stddev` again",
    "A4": "RandomUniform excludes `maxval`",
    "A5": "the standard deviation of truncated VarianceScaling is sqrt(scale / n) after truncation",
    "A6": "the limit of uniform VarianceScaling is sqrt(3 · scale / n)",
    "A7": "the variance is 2 / (fan_in + fan_out) for Glorot, 2 / fan_in for He, 1 / fan_in for LeCun",
    "A8": "“normal” in the names of Glorot, He and LeCun means truncated",
    "A9": "`untruncated_normal` has tails",
    "A10": "entries are independent",
    "A11": "Orthogonal gives orthonormal rows or columns at any rank",
    "A12": "Orthogonal is uniformly distributed (Haar)",
    "A13": "the variance of Orthogonal is gain² / max(rows, columns)",
    "A14": "Identity makes matrices only",
    "A15": "Constant takes scalars only",
    "A16": "a vector has fan_in = fan_out = its length",
    "B1": "the fan_in of Dense is its number of inputs",
    "B2": "the fan of a convolution is its kernel's area times its channels",
    "B3": "a grouped convolution keeps the signal",
    "B4": "a depthwise convolution with HeNormal doubles the second moment",
    "B5": "a separable convolution keeps the signal",
    "B6": "a transposed convolution with LeCun's keeps the signal",
    "B7": "EinsumDense and MultiHeadAttention use their true fans",
    "B8": "EinsumDense uses its true fans where an axis is shared",
    "B9": "the kernel of LSTM counts four times its units",
    "B10": "the recurrent kernel is orthogonal",
    "B11": "LoRA leaves the output unchanged when it is switched on",
    "L1": "kernels are `glorot_uniform`, recurrent kernels `orthogonal`, biases `zeros`",
    "L2": "Embedding is uniform within ±0.05",
    "L3": "the parameters of BatchNormalization and PReLU start at 1 and 0",
    "L4": "`unit_forget_bias` sets the forget gate to 1",
    "L5": "`unit_forget_bias` forces the other biases to zeros",
    "L6": "the scale of AdditiveAttention has the variance 1 / dimension",
    "C1": "an instance with a whole or no seed repeats its values on every call",
    "C2": "a SeedGenerator varies by call",
    "C3": "an unseeded clone differs, a seeded clone is equal",
    "C4": "`set_random_seed` reproduces what is built after it",
    "C5": "the seed 0 is honoured",
    "C6": "one seed gives independent values in different shapes",
    "C7": "one seed gives independent values in different classes",
    "C8": "distinct seeds give distinct values",
    "C9": "values are stable across versions of Keras",
    "C10": "compiled draws equal eager draws",
    "D1": "normal draws are calibrated in half precision",
    "D2": "uniform draws are unbiased in bfloat16",
    "D3": "draws in bfloat16 stay within the support",
    "D4": "Orthogonal works in any floating dtype",
    "E1": "LeCun's and Glorot's keep the signal of linear layers",
    "E2": "He's keeps the signal of ReLU layers",
    "E3": "Glorot's halves it in each ReLU layer",
    "E4": "Glorot's keeps the signal of tanh layers",
    "E5": "SELU with LeCun's has the fixed point of mean 0 and variance 1",
    "E6": "He's suits all rectifiers",
    "E7": "N(0, 1) multiplies the second moment by n / 2 in each ReLU layer",
    "E8": "RandomNormal by default multiplies it by n / 800 in each ReLU layer",
    "E9": "a healthy pooled second moment means a healthy signal",
    "E10": "AlphaDropout keeps mean and variance",
    "E11": "the initial cross-entropy of ten classes is ln 10",
    "F1": "He's keeps the gradient of equally wide layers",
    "F2": "the gradient vanishes with Glorot's and ReLU",
    "F3": "the norm of the weights' gradient shows a vanishing gradient",
    "F4": "gradients grow by 1.07 in each SELU layer",
    "F5": "either fan suffices for He's",
    "F6": "the forget bias of LSTM helps the gradient",
    "G1": "zeros leave the hidden gradients at zero for ReLU, tanh and linear layers",
    "G2": "zeros keep the units of one sigmoid layer identical",
    "G3": "constants are as symmetric as zeros",
    "G4": "zero biases are harmless with random kernels",
    "H1": "a deep ReLU network trains with He's and not with Glorot's",
    "H2": "a deep SELU network trains with LeCun's",
    "NB1": "zeros give every weight the same gradient and are no better than a linear model",
    "NB2": "zeros may do for linear activations",
    "NB3": "zero biases cause no issue",
    "NB4": "a standard deviation of 1 is the most common; it slows learning or is unstable",
    "NB5": "Xavier's is a normal draw times sqrt(1 / n)",
    "NB6": "Xavier's makes the output's variance that of the input",
    "NB7": "the variance of the gradients is about the same for each layer",
    "NB8": "He's has the standard deviation sqrt(2 / n) and balances activations and gradients",
    "NB9": "Xavier's trains faster and more accurately than random or zero weights",
    "NB10": "zeros are a local minimum",
    "S1": "one seeded initializer gives several weights of a layer the same values",
    "S2": "one seed in every layer of a deep network changes how much its signal varies",
    "S3": "the output variance of MultiHeadAttention changed between versions",
    "S4": "initializers of the user's own fail in EinsumDense and MultiHeadAttention",
    "S5": "`input_axes` alone is ignored; `orthogonal` in MultiHeadAttention is not orthogonal",
    "S6": "recurrent layers cannot be built in bfloat16",
    "S7": "BatchNormalization in inference mode is the identity at initialization",
    "S8": "the signal of VGG16 fades by default",
    "S9": "the pooled variance and that across the batch differ for inputs with a mean",
    "S10": "building a layer uses Python's random state",
}
"""The rows in order, each as the sentence that is documented, or the surprise, in words."""


def write_page(claims: Sequence[Claim] | None = None) -> str:
    """Write the page in Markdown; None takes the claims of the catalogue."""
    claims = catalogue(backend=_BACKEND) if claims is None else claims
    for claim in claims:
        for row in claim.rows:
            if row not in ROWS:
                raise name_unknown(f"row of the claim {claim.id}:", row, ROWS)
    covered = sum(any(row in claim.rows for claim in claims) for row in ROWS)
    refuted = sum(claim.expected == "refuted" for claim in claims)
    parts = [
        _INTRODUCTION,
        (
            f"{len(claims)} claims, {refuted} of them refuted; {covered} of {len(ROWS)} rows have a claim. What is\n"
            "expected depends on the version of Keras and on the backend: here they are the newest released and "
            f"TensorFlow, and {len(claims_not_there(backend=_BACKEND))} more claims are about others.\n"
        ),
        _count_topics(claims),
    ]
    for letters, rows in groupby(ROWS, key=_letters):
        parts.append(f"\n## {GROUPS[letters]}\n\n| Row | Statement | Claims |\n| --- | --- | --- |\n")
        parts += [f"| {row} | {ROWS[row]} | {_name_claims(row, claims)} |\n" for row in rows]
    return "".join(parts)


def _letters(row: str) -> str:
    return row.rstrip("0123456789")


def _count_topics(claims: Sequence[Claim]) -> str:
    lines = ["\n| Topic | Claims | Refuted | Without a row | Slow |\n| --- | --- | --- | --- | --- |\n"]
    for topic in TOPICS:
        own = [claim for claim in claims if claim.topic == topic]
        counts = (
            len(own),
            sum(claim.expected == "refuted" for claim in own),
            sum(not claim.rows for claim in own),
            sum(claim.slow for claim in own),
        )
        lines.append(f"| {topic} | " + " | ".join(map(str, counts)) + " |\n")
    return "".join(lines)


def _name_claims(row: str, claims: Sequence[Claim]) -> str:
    parts = []
    for expected in ("refuted", "holds"):
        ids = [claim.id for claim in claims if row in claim.rows and claim.expected == expected]
        if ids:
            parts.append(f"{expected}: {', '.join(f'`{name}`' for name in _fold(ids))}")
    return "; ".join(parts) or "none"


def _fold(ids: Iterable[str]) -> list[str]:
    """Write ids that differ in their subject alone as one: ``dtype.{he_normal, he_uniform}.variance``."""
    subjects: dict[tuple[str, str], list[str]] = {}
    for name in ids:
        topic, _, rest = name.partition(".")
        subject, _, aspect = rest.partition(".")
        subjects.setdefault((topic, aspect), []).append(subject)
    folded = []
    for (topic, aspect), names in subjects.items():
        middle = names[0] if len(names) == 1 else "{" + ", ".join(names) + "}"
        folded.append(".".join(part for part in (topic, middle, aspect) if part))
    return folded

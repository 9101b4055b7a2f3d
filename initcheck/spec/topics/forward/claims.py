"""What is claimed of the signal on its way through deep networks at initialization."""

from __future__ import annotations

from dataclasses import replace

from initcheck.models.initializers import InitializerSpec
from initcheck.spec.claim import Claim
from initcheck.spec.decisions import CLAIM_FALSE_ALARM
from initcheck.spec.topics.deep.claims import GAIN, HE, SELU, SQUARE, course_claim, gain_claims
from initcheck.spec.topics.deep.networks import LEFT_OUT, DeepNetwork, Gains
from initcheck.spec.topics.forward.cases import case_claims, piece_claims
from initcheck.spec.topics.forward.layers import layer_claims, pyramid_claims


def claims() -> tuple[Claim, ...]:
    """List the claims."""
    return (
        *gain_claims("forward"),
        *_selu_claims(),
        *_rectifier_claims(),
        *pyramid_claims("forward"),
        *case_claims(),
        *layer_claims(),
        *piece_claims(),
    )


def _selu_claims() -> list[Claim]:
    lecun = DeepNetwork(InitializerSpec("LecunNormal"), "selu")
    he = DeepNetwork(InitializerSpec("HeNormal"), "selu")
    # Fluctuations of order 1 / 64 move the mean gain by one per cent: a good third of the margin is left to them.
    seeds = lecun.count_seeds(0.015)
    fixed = Claim(
        id="forward.lecun_normal.selu_gain",
        statement="LecunNormal and SELU keep a unit second moment from layer to layer.",
        source=SELU,
        condition=SQUARE,
        experiment=Gains(lecun, "forward", 1.0, seeds),
        decide=GAIN,
        control=Gains(he, "forward", 1.0, seeds),
        control_note="HeNormal in place of LecunNormal",
        slow=True,
        false_alarm=CLAIM_FALSE_ALARM,
        rows=("E5",),
    )
    refuted = Claim(
        id="forward.he_normal.selu_gain",
        statement="HeNormal keeps the second moment in layers of SELU, a rectifier as others are.",
        source="Keras, keras.initializers.HeNormal",
        condition=SQUARE,
        experiment=Gains(he, "forward", 1.0, he.count_seeds(LEFT_OUT)),
        decide=GAIN,
        control=Gains(lecun, "forward", 1.0, seeds),
        control_note="LecunNormal in place of HeNormal",
        expected="refuted",
        slow=True,
        false_alarm=CLAIM_FALSE_ALARM,
        rows=("E5",),
    )
    attraction = course_claim("forward", "lecun_normal", replace(lecun, scale=2.0), SELU, ("E5",), "selu_attraction")
    return [
        fixed,
        refuted,
        replace(
            attraction,
            slow=True,
            statement=(
                "LecunNormal and SELU draw a second moment of 4 back towards 1, layer by layer as mean-field theory "
                "with its first correction in 1 / width says."
            ),
        ),
        course_claim("forward", "he_normal", he, SELU, ("E5",), "selu_course", slow=True),
    ]


def _rectifier_claims() -> list[Claim]:
    listed = []
    relu = DeepNetwork(InitializerSpec("HeNormal"), "relu")
    for activation in ("gelu", "silu", "elu"):
        network = replace(relu, activation=activation, depth=4)
        # So near the input theory leaves out less than it may elsewhere.
        seeds = network.count_seeds(LEFT_OUT / 5.0)
        course = course_claim("forward", "he_normal", network, HE, ("E6",), f"{activation}_course", slow=True)
        defect = replace(network, variance_factor=1.25)
        listed += [
            Claim(
                id=f"forward.he_normal.{activation}_gain",
                statement=f"HeNormal keeps the second moment in {activation} layers, as in those of other rectifiers.",
                source="Keras, keras.initializers.HeNormal",
                condition="4 square Dense layers of 64 units, zero biases, one sample of unit second moment",
                experiment=Gains(network, "forward", 1.0, seeds),
                decide=GAIN,
                control=Gains(replace(relu, depth=4), "forward", 1.0, seeds),
                control_note="ReLU",
                expected="refuted",
                slow=True,
                false_alarm=CLAIM_FALSE_ALARM,
                rows=("E6",),
            ),
            replace(
                course,
                experiment=Gains(network, "forward", seeds=seeds),
                control=Gains(defect, "forward", seeds=seeds),
            ),
        ]
    return listed

"""What is claimed of the gradient at initialization, backward through deep networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.interface import backend
from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import InitializerSpec
from initcheck.spec import causes
from initcheck.spec.claim import Claim, RunContext, SeedRow, seed_rows
from initcheck.spec.decisions import SeedMeanWithin
from initcheck.spec.subjects import to_numpy
from initcheck.spec.topics.deep import SELU, SQUARE, gain_claims, rectangular_claims, theory_claim
from initcheck.spec.topics.deep.networks import WIDTH, DeepNetwork, WeightGradients, draw_normal
from initcheck.theory.sampling import compute_relu_increment


@dataclass(frozen=True)
class ForgetBias:
    """By how much less the gradient of an LSTM shrinks with time for its forget bias, in nats a step."""

    biases: tuple[bool, bool] = (True, False)

    def measure(self, context: RunContext) -> list[SeedRow]:
        rates = [context.remember(("forget bias", bias), partial(self._run, context, bias)) for bias in self.biases]
        return seed_rows("LSTM", rates[0] - rates[1])

    def _run(self, context: RunContext, bias: bool) -> NDArray[np.float64]:
        keras = import_keras()
        x = keras.ops.convert_to_tensor(draw_normal(context, "forget bias", (1, 25, 8)))
        rates: list[float] = []
        for seed in context.seeds("forget bias", 16):  # one seed gives both networks the same weights
            layer = keras.layers.LSTM(
                32,
                unit_forget_bias=bias,
                kernel_initializer=InitializerSpec("GlorotUniform").create(seed),
                recurrent_initializer=InitializerSpec("Orthogonal").create(seed + 1),
            )
            layer.build((1, 25, 8))
            found = backend().differentiate(partial(_sum_outputs, layer), [x])
            gradient = to_numpy(found.gradients[0]).astype(np.float64)[0]
            first, last = np.linalg.norm(gradient[0]), np.linalg.norm(gradient[-1])
            rates.append(math.log(first / last) / 24)
        return np.asarray(rates)


def _sum_outputs(layer: Any, given: Sequence[Any]) -> tuple[Any, None]:
    return import_keras().ops.sum(layer(given[0])), None


def claims() -> Iterator[Claim]:
    """List the claims."""
    lecun = DeepNetwork(InitializerSpec("LecunNormal"), "selu")
    yield from gain_claims("backward")
    yield theory_claim("backward", "lecun_normal", lecun, SELU, ("F4",), "selu_course")
    yield from _weight_gradient_claims()
    yield from rectangular_claims("backward")
    yield Claim(
        id="backward.lstm.forget_bias",
        statement="The unit forget bias of an LSTM makes its gradient shrink a fifth less at each step in time.",
        source="Jozefowicz, Zaremba & Sutskever, 2015, ICML; Keras, keras.layers.LSTM",
        condition="32 units, 25 steps of Gaussian inputs, the same weights with and without the bias",
        experiment=ForgetBias(),
        # Were the cell's path all there is, a step would win ln(sigmoid(1) / sigmoid(0)) = .38.
        decide=SeedMeanWithin("nats a step won by the bias", math.log(1.2), 0.5),
        control=ForgetBias((False, False)),
        control_note="no forget bias in either",
        slow=True,
        rows=("F6",),
    )


def _weight_gradient_claims() -> Iterator[Claim]:
    network = DeepNetwork(InitializerSpec("GlorotUniform"), "relu")
    seeds = DeepNetwork(InitializerSpec("HeNormal"), "relu").count_seeds()
    # The mean over 9 steps of a logarithm of variance 2 x 5 / 64 at most has the error .13 / 22 = .006: ten of them.
    margin = 0.06
    quantity = "ln of the factor by layer"
    expected = compute_relu_increment(WIDTH, 0.5).mean
    claim = partial(
        Claim,
        experiment=WeightGradients(network, seeds=seeds),
        control=WeightGradients(network, of_signal=True, seeds=seeds),
        control_note="dL/dz in place of dL/dW",
        rows=("F3",),
    )
    yield claim(
        id="backward.weight_gradient.reveals_vanishing",
        statement="The norm of a layer's weight gradient shows that the gradient vanishes.",
        source="Glorot & Bengio, 2010, AISTATS, section 4.2",
        condition=f"{SQUARE}; GlorotUniform and ReLU, where dL/dz halves in every layer",
        decide=SeedMeanWithin(quantity, expected - margin, expected + margin),
        expected="refuted",
        cause=causes.SIZE_ALONE,
    )
    yield claim(
        id="backward.weight_gradient.is_level",
        statement="In square ReLU layers the norm of the weight gradient is the same everywhere, vanishing or not.",
        source="Glorot & Bengio, 2010, AISTATS, eq. 14",
        condition=f"{SQUARE}; GlorotUniform and ReLU",
        decide=SeedMeanWithin(quantity, -margin, margin),
    )

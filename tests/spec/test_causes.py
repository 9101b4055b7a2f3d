"""What the page says of false claims: quotations that Keras has, code that prints what it says, links of one form."""

from __future__ import annotations

import contextlib
import inspect
import io
import operator
from collections.abc import Iterator

import keras
import pytest

from initcheck.backend.runtime import BACKENDS
from initcheck.core.errors import UsageError
from initcheck.spec.catalogue import catalogue
from initcheck.spec.causes import CAUSES, KnownCause, documentation_address
from initcheck.spec.claim import Claim


def causes() -> Iterator[KnownCause]:
    """Those of the claims about the installed Keras."""
    by_slug = {claim.cause.slug: claim.cause for claim in catalogue() if claim.cause and claim.expected == "refuted"}
    yield from by_slug.values()


@pytest.mark.parametrize("cause", list(causes()), ids=operator.attrgetter("slug"))
def test_quotations_are_the_words_of_the_installed_keras(cause: KnownCause):
    for quotation in cause.quotations:
        documented = operator.attrgetter(quotation.name.removeprefix("keras."))(keras)
        assert quotation.words in " ".join(inspect.getdoc(documented).split())


def test_what_keras_states_is_quoted():
    assert all(cause.quotations for cause in causes() if cause.basis != "assumed")


def run_code(code: str) -> str:
    """Give what the page's code prints, or the name of the error that it ends with."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "the page", "exec"), {"keras": keras})
    except (AttributeError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        return type(error).__name__
    return printed.getvalue().rstrip("\n")


@pytest.mark.parametrize("cause", [each for each in CAUSES.values() if each.code], ids=operator.attrgetter("slug"))
def test_code_prints_what_the_page_says_in_the_versions_and_on_the_backends_that_it_says(cause: KnownCause):
    backends = cause.backends or tuple(BACKENDS)
    expected = keras.__version__ in cause.keras and keras.backend.backend() in backends
    assert (run_code(cause.code) == cause.prints) == expected


def test_a_refuted_claim_without_a_cause_is_refused():
    claim = next(claim for claim in catalogue() if claim.expected == "refuted")
    fields = {name: getattr(claim, name) for name in claim.__dataclass_fields__}
    with pytest.raises(UsageError, match=r"needs a cause, one of initcheck\.spec\.causes"):
        Claim(**{**fields, "cause": None})


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("keras.initializers.HeNormal", "initializers/#henormal-class"),
        ("keras.initializers.Identity.get_config", "initializers/#identity-class"),
        ("keras.initializers.get", "initializers/"),
        ("keras.layers.Conv2D", "convolution_layers/convolution2d/"),
        ("keras.layers.Conv2DTranspose", "convolution_layers/convolution2d_transpose/"),
        ("keras.layers.DepthwiseConv1D", "convolution_layers/depthwise_convolution1d/"),
        ("keras.layers.ConvLSTM2D", "recurrent_layers/conv_lstm2d/"),
        ("keras.layers.LSTMCell", "recurrent_layers/lstm_cell/"),
        ("keras.layers.SimpleRNN", "recurrent_layers/simple_rnn/"),
        ("keras.layers.MultiHeadAttention", "attention_layers/multi_head_attention/"),
    ],
)
def test_the_page_of_an_object_follows_from_its_name(name: str, address: str):
    assert documentation_address(name) == f"https://keras.io/api/layers/{address}"


def test_an_object_without_a_page_has_no_link():
    assert documentation_address("keras.layers.ReversibleEmbedding") == ""
    assert documentation_address("keras.utils.set_random_seed") == ""

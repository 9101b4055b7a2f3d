"""Language models of KerasHub as the library builds them, with two layers and few units."""

from __future__ import annotations

import keras
import keras_hub

_SIZES = {
    "vocabulary_size": 64,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 32,
    "intermediate_dim": 64,
}


def build_llama() -> keras.Model:
    """Build the backbone of Llama."""
    return keras_hub.models.LlamaBackbone(**_SIZES)


def build_gemma() -> keras.Model:
    """Build the backbone of Gemma."""
    return keras_hub.models.GemmaBackbone(**_SIZES, head_dim=8)

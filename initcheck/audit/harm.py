"""What a rule's defect costs in training: the numbers of ``harm.json``, which ``tests/power/harm.py`` measured."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


def describe_harm(code: str) -> str:
    """Say how models with a rule's defect trained beside those without; empty where none were trained."""
    measured = _read()
    found = measured["rules"].get(code)
    if found is None:
        return ""
    shown = f"in {found['higher'] or 'none'} of {found['pairs']} pairs"
    return (
        f"Models were trained with the defect and without it, each at its own best learning rate: after "
        f"{measured['steps']} steps the loss is higher with it {shown} (median {_format_loss(found['with'])}, "
        f"{_format_loss(found['without'])} without; chance level {_format_loss(measured['chance'])})."
    )


@cache
def _read() -> Any:
    return json.loads(Path(__file__).with_name("harm.json").read_text(encoding="utf-8"))


def _format_loss(loss: float) -> str:
    return f"{loss:.3g}"

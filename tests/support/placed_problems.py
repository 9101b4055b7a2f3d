"""Results of checks whose problems lie in calls of a file that is there, and whose fixes edit these calls."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

from examined_model import make_fix, make_result

from initcheck.audit.findings import Cause, CheckResult, Edit
from initcheck.probe.places import CallSite

CODE = """\
from keras import Input, Sequential, layers


def build():
    first = "𝄞 é"; bad = layers.Dense(64, activation="relu", kernel_initializer="ones")
    return Sequential([Input((64,)), bad, layers.Dense(
        3,
        kernel_initializer="zeros",
    )])
"""


def find_call(path: Path, number: int) -> CallSite:
    """Find the call of the Dense layer of a number, as Python places it."""
    calls = [
        each
        for each in ast.walk(ast.parse(path.read_text(encoding="utf-8-sig")))
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "layers.Dense"
    ]
    call = sorted(calls, key=lambda each: each.lineno)[number]
    return CallSite(str(path), path.name, call.lineno, call.col_offset, call.end_lineno, call.end_col_offset)


def make_placed(path: Path, *numbers: int) -> CheckResult:
    """Make a result whose problem lies in a layer of a file, and whose fix edits layers of that file."""
    sites = {f"layer_{number}": find_call(path, number) for number in numbers}
    edits = tuple(Edit(layer, "kernel_initializer", "", '"he_normal"', site, 3) for layer, site in sites.items())
    first = next(iter(sites))
    checked = make_result(forward=0.2, fix=replace(make_fix(), edits=edits))
    found = tuple(replace(each, cause=Cause("constant", (f"{first}/kernel",), "ones")) for each in checked.findings)
    places = {name: str(site) for name, site in sites.items()}
    places[f"{first}/kernel"] = places[first]
    return replace(checked, findings=found, sites=sites, places=places)

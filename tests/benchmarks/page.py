"""The benchmarks' ratios as a page: ``python tests/benchmarks/page.py reports/benchmarks/benchmarks.json``.

Reads what pytest-benchmark wrote (the ratios are in each benchmark's ``extra_info``) and writes ``benchmarks.md``
beside it; other results become a page of their own name. Neither Keras nor initcheck is needed.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HEAD = """\
<!-- Written by: python tests/benchmarks/page.py {source} -->

# Benchmarks

Ratios of times within one process, the two sides taking turns; 95 % intervals over rounds. A ratio with a limit is
asserted by the benchmark that measured it, one without is there for orientation; results of earlier versions do not
record their limits. A limit is shown where the whole interval lies within it: where it is *not shown*, more rounds or a
quieter machine would be needed. How to run and to compare them: [docs/benchmarks.md](../../docs/benchmarks.md).
"""


LIMIT = re.compile(r"(at least|above|at most|within) ([\d.]+)(?: to ([\d.]+))?")


def write_page(results: Mapping[str, Any], source: str) -> str:
    """Write what pytest-benchmark measured as Markdown: a table for each file, in the order of the run."""
    parts = [HEAD.format(source=source), _describe(results)]
    by_file: dict[str, list[Mapping[str, Any]]] = {}
    for benchmark in results["benchmarks"]:
        by_file.setdefault(benchmark["fullname"].partition("::")[0], []).append(benchmark)
    for file, benchmarks in by_file.items():
        rows = [row for benchmark in benchmarks for row in _list_ratios(benchmark)]
        if rows:
            title = Path(file).stem.removeprefix("test_").replace("_", " ").capitalize()
            parts.append(f"## {title}\n\n| Ratio | Value | 95 % interval | Limit |\n| --- | --- | --- | --- |\n")
            parts[-1] += "\n".join(rows) + "\n"
    return "\n".join(parts)


def _describe(results: Mapping[str, Any]) -> str:
    machine = results.get("machine_info", {})
    cpu = machine.get("cpu", {})
    processor = f"{cpu.get('brand_raw', machine.get('machine', 'unknown'))}, {cpu.get('count', '?')} cores"
    python = f"{machine.get('python_implementation', '')} {machine.get('python_version', '')}".strip()
    return f"Run on {results.get('datetime', '')[:10]}: {processor}, {python}.\n"


def _list_ratios(benchmark: Mapping[str, Any]) -> Iterator[str]:
    for name, found in benchmark.get("extra_info", {}).items():
        if not isinstance(found, Mapping) or not {"ratio", "low", "high"} <= set(found):
            continue  # seconds and bytes that a benchmark keeps beside its ratios
        figures = [format_ratio(found[key]) for key in ("ratio", "low", "high")]
        label = name.replace("|", "\\|")
        yield f"| {label} | {figures[0]} | {figures[1]} to {figures[2]} | {_describe_limit(found)} |"


def _describe_limit(found: Mapping[str, Any]) -> str:
    limit = found.get("limit", "not recorded")
    match = LIMIT.fullmatch(limit)
    if match is None:
        return limit
    ends = {"at least": (float(match[2]), math.inf), "above": (float(match[2]), math.inf)}
    least, most = ends.get(match[1], (0.0, float(match[2])))
    if match[3] is not None:
        least, most = float(match[2]), float(match[3])
    return f"{limit}: {'shown' if least <= found['low'] and found['high'] <= most else 'not shown'}"


def format_ratio(value: float) -> str:
    """Write a ratio with three digits, and two decimals where it is near 1."""
    return f"{value:.3g}" if value < 0.1 or value >= 100.0 else f"{value:.2f}" if value < 10.0 else f"{value:.1f}"


def main(arguments: list[str]) -> int:
    """Read the results and write the page beside them; 2 if they cannot be read."""
    if len(arguments) != 1:
        sys.stderr.write("Give the path of the results: page.py reports/benchmarks/benchmarks.json\n")
        return 2
    path = Path(arguments[0])
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(results, Mapping):
            raise ValueError("it is no object")
        page = write_page(results, path.as_posix())
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"The results in {str(path)!r} cannot be read: {error!r}. Run: tox run -e bench\n")
        return 2
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

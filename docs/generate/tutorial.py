"""``docs/tutorial.ipynb`` is run by ``python -m generate.tutorial``; ``docs/tutorial.md`` is the same in Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

NOTEBOOK: Final = Path(__file__).parents[1] / "tutorial.ipynb"

_INTRODUCTION: Final = "<!-- Written from tutorial.ipynb by: tox run -e docs -->\n\n"


def write_page() -> str:
    """Write the page in Markdown: texts as they are, code and what it prints in blocks."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    parts = [part for cell in cells for part in _write_cell(cell)]
    return _INTRODUCTION + "\n\n".join(parts) + "\n"


def _write_cell(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    return [f"```python\n{source}\n```", *(f"```text\n{''.join(out['text'])}```" for out in cell["outputs"])]


def execute() -> Any:
    """Run the notebook, and keep of each cell what it printed."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, record_timing=False).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            printed = "".join(out.text for out in cell.outputs if out.get("name") == "stdout")
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=printed)] if printed else []
    return notebook


if __name__ == "__main__":
    import nbformat

    nbformat.write(execute(), NOTEBOOK)

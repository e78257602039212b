"""The example notebook runs as it stands, in the project's own environment."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_answers_from_the_example_corpus() -> None:
    notebook = nbformat.read(EXAMPLES / "ask.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    )
    assert "thirty-four knots" in printed
    assert "[1] The ferry to Skerrow › Cancelled sailings · ferry.md" in printed
    assert "trace " in printed

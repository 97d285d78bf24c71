"""The example notebook, executed from its first cell to its last."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "tuning.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    """The notebook after a run in an empty folder with a home of its own."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    environment = {
        **os.environ,
        "SAPPHIRE_HOME": str(folder / "home"),
        "PYTHONPATH": str(ROOT),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    client = NotebookClient(
        notebook, timeout=110, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    # An error in a cell raises here, with the cell.
    client.execute(env=environment)
    return notebook


def said(notebook: NotebookNode) -> str:
    """All that the cells printed or showed as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs
    )


@pytest.mark.timeout(240)
def test_the_notebook_runs_and_shows_what_it_promises(executed: NotebookNode) -> None:
    text = said(executed)
    assert re.search(r"\d+ \{'fast': \d+, 'slow': \d+\} Sharpe ratio -?\d", text)
    assert len(re.findall(r"^(Do not believe it|Not proven)[^\n]+\.$", text, re.MULTILINE)) == 2
    assert "the same trials: True" in text
    assert re.search(r"report\.html \d+ MB", text)
    counts = re.findall(r"(?:complete|failed)[^\n]*┆ +(\d+) +│", text)
    assert sum(map(int, counts)) == 80
    assert re.search(r"1,000,000 became [\d,]{7,}", text)


def test_the_notebook_is_stored_without_outputs_or_places_of_a_machine() -> None:
    raw = NOTEBOOK.read_text(encoding="utf-8")
    notebook = nbformat.reads(raw, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert not re.search(r"(/home/|/root/|/tmp/|https?://)", raw)

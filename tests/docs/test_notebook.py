"""docs/first-model.ipynb: stored without outputs, and its cells run and say what the text says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from aligncvc.files import PROJECT_ROOT

NOTEBOOK = json.loads((PROJECT_ROOT / "docs/first-model.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_outputs_are_not_stored() -> None:
    assert len(CODE) == 6
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in CODE)


def test_the_cells_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in CODE:
        # the frame that Jupyter shows the page in is the only thing that needs Jupyter
        if "needs-jupyter" in cell["metadata"].get("tags", []) and not importlib.util.find_spec("IPython"):
            continue
        exec(compile("".join(cell["source"]), "first-model.ipynb", "exec"), names)
    assert {"plant.ply", "plant.html", "plant.glb"} <= {path.name for path in tmp_path.iterdir()}
    assert names["photo"].size == (256, 256) and names["photo"].mode == "RGBA"
    assert abs(names["longer_side"](names["seen"].alpha[0, 0]) - 0.84) < 0.02
    assert names["strip"].size == (4 * 64, 2 * 4 * 64)  # four views; views and renderings of four steps
    model, copy, white = (decibels for decibels, _ in names["scores"].values())
    assert torch.isfinite(model).all() and bool((model > white).all())
    assert copy[0] > model[0]  # at the input's own pose the copy is the truth


def test_it_runs_in_jupyter(tmp_path: Path) -> None:
    """As a reader runs it, where Jupyter is installed beside the project."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient and ipykernel are not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.from_dict(NOTEBOOK)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = notebook.cells[-2].outputs[0].text
    assert printed.startswith("the model") and "the input copied" in printed
    assert "iframe" in notebook.cells[9].outputs[0].data["text/html"]

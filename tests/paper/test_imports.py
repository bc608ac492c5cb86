"""The paper stage reads files only: it imports no network, no sampling loop and no configuration."""

from __future__ import annotations

import ast
import subprocess
import sys

from aligncvc.files import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "src/aligncvc/paper"


def test_no_module_of_the_paper_imports_networks_or_the_configuration() -> None:
    allowed = {"aligncvc.config.jobs.paper"}
    for path in FOLDER.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        forbidden = (
            "aligncvc.models",
            "aligncvc.loop",
            "aligncvc.config",
            "aligncvc.align",
            "aligncvc.sample",
        )
        wrong = {name for name in names if name.startswith(forbidden)} - allowed
        # the command makes settings from --config where no file is given
        made = {"aligncvc.config.plan", "aligncvc.config.paper_job", "aligncvc.config.option"}
        assert wrong <= (made if path.stem == "__main__" else set())


def test_nothing_that_it_imports_does() -> None:
    modules = [f"aligncvc.paper.{path.stem}" for path in FOLDER.glob("*.py") if path.stem != "__init__"]
    code = f"import sys, {', '.join(modules)}; print(*(m for m in sys.modules if m.startswith('aligncvc')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    settings = {"aligncvc.models", "aligncvc.models.specs"}  # what jobs are made of
    assert not {m for m in loaded if m.startswith(("aligncvc.models", "aligncvc.loop"))} - settings
    assert not {"aligncvc.config.root", "aligncvc.config.plan"} & loaded

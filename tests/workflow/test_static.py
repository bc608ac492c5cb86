"""Lint, formatting, layering, pins, and files that are made from others."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from aligncvc.files import PROJECT_ROOT

BIN = Path(sys.executable).parent


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=PROJECT_ROOT,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_snakemake_lint() -> None:
    result = run(sys.executable, "-m", "snakemake", "--lint")
    assert result.returncode == 0, result.stdout
    assert "good condition" in result.stdout


def test_snakefmt() -> None:
    result = run(sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow")
    assert result.returncode == 0, result.stdout


def test_layers() -> None:
    script = (
        "import sys; sys.path.insert(0, 'src'); from importlinter.cli import lint_imports; "
        "sys.exit(lint_imports())"
    )
    result = run(sys.executable, "-c", script)
    assert result.returncode == 0, result.stdout


def test_conda_files_agree_with_the_code_and_with_the_environment() -> None:
    """What envs/refresh.py would write is what is there."""
    script = (
        "import sys; sys.path.insert(0, 'envs'); import refresh\n"
        "stale = [n for n, t in refresh.outputs().items() if not (refresh.ENVS / n).exists()"
        " or (refresh.ENVS / n).read_text() != t]\n"
        "print(*stale); sys.exit(bool(stale))"
    )
    result = run(sys.executable, "-c", script)
    assert result.returncode == 0, f"run .venv/bin/python envs/refresh.py; stale: {result.stdout}"


@pytest.mark.parametrize("env", ["render", "torch", "paper"])
def test_conda_pins_are_exact_and_shared(env: str) -> None:
    pins = dict(
        re.findall(r"^([\w.-]+)==([\w.]+)$", (PROJECT_ROOT / "envs/constraints.txt").read_text(), re.M)
    )
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    dependencies = yaml.safe_load((PROJECT_ROOT / f"envs/{env}.yaml").read_text())["dependencies"]
    assert all("=" in item for item in dependencies if isinstance(item, str))
    listed = next(item["pip"] for item in dependencies if isinstance(item, dict))
    assert len(listed) > 5
    for pin in listed:
        name, version = pin.split("==")
        assert pins[re.sub(r"[-_.]+", "-", name).lower()] == version


def test_no_torchvision_anywhere() -> None:
    for path in (PROJECT_ROOT / "envs").iterdir():
        if path.is_file() and path.suffix in (".txt", ".yaml", ".sh"):
            lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
            assert not any("torchvision" in line for line in lines), path


def test_tracked_files_name_no_machine() -> None:
    """No absolute paths of a machine and no index addresses in what is committed."""
    listed = run("git", "ls-files")
    if listed.returncode:
        pytest.skip("not a git checkout")
    forbidden = re.compile(r"/(?:root|home)/\w|--(?:extra-)?index[-]url|py(?:thonhosted|pi)\.org")
    for name in listed.stdout.splitlines():
        path = PROJECT_ROOT / name
        if path.suffix in (".glb", ".png", ".safetensors", ".npz", ".jpg", ".onnx") or not path.is_file():
            continue
        if path == Path(__file__).resolve():
            continue
        found = forbidden.search(path.read_text(encoding="utf-8", errors="ignore"))
        assert found is None, f"{name}: {found[0] if found else ''}"

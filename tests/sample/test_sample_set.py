"""A whole set: files as the contract says, failures listed, results independent of order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_world import PAIR, sample_job, write_renders

import aligncvc
from aligncvc.errors import UserError
from aligncvc.sample import sets
from aligncvc.sample.sets import sample_one, sample_set
from aligncvc.scene.gaussians import load_ply
from aligncvc.scene.rigs import Rig


def test_files_of_a_set(renders: Path, tmp_path: Path) -> None:
    job = sample_job(steps=2, seeds=[0, 1])
    sample_set(job, renders, tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["pair"], manifest["method"], manifest["failed"]) == (PAIR, "m", [])
    assert manifest["rig"]["azimuths_deg"] == [0, 90, 180, 270] and manifest["reconstruct"] is None
    assert manifest["settings"] == job.hash and "core" in manifest["hardware"] and "steps" not in manifest
    assert [(e["object"], e["seed"]) for e in manifest["entries"]] == [(o, s) for o in "abc" for s in (0, 1)]
    for entry in manifest["entries"]:
        folder = tmp_path / "out" / entry["path"]
        assert entry["path"] == f"{entry['object']}/seed{entry['seed']}"
        facts = json.loads((folder / "sample.json").read_text())
        assert (facts["pair"], facts["method"]) == (PAIR, "m")
        assert (facts["object"], facts["seed"]) == (entry["object"], entry["seed"])
        assert facts["steps"] == 2 and facts["network_calls"] == 4
        assert (
            min(facts["seconds"], facts["cpu_seconds"], facts["peak_mb"]) > 0
            and "generator" in facts["seconds_by_part"]
        )
        steps = np.load(folder / "steps.npz")
        assert steps["views"].shape == steps["renders"].shape == (2, 4, 32, 32, 3)
        assert steps["views"].dtype == steps["renders"].dtype == np.uint8
        assert steps["timesteps"].tolist() == [999, 499]
        assert len(load_ply(folder / "model.ply")) > 0


def test_results_do_not_depend_on_the_other_objects(renders: Path, tmp_path: Path) -> None:
    sample_set(sample_job("two_stage", 3), renders, tmp_path / "all")
    rows = renders.read_text().splitlines()
    alone = renders.parent / "alone.tsv"
    alone.write_text("\n".join([rows[0], rows[3]]) + "\n")
    sample_set(sample_job("two_stage", 3), alone, tmp_path / "alone")
    for name in ("model.ply", "model.glb", "steps.npz"):
        assert (tmp_path / "all/c/seed0" / name).read_bytes() == (
            tmp_path / "alone/c/seed0" / name
        ).read_bytes()


def test_an_unreadable_object_is_listed_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tuple(f"o{i:02d}" for i in range(10))
    manifest = write_renders(tmp_path / "renders", names)
    (tmp_path / "renders/o00/cameras.json").write_text("{")
    sample_set(sample_job(steps=1), manifest, tmp_path / "out")
    written = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [e["object"] for e in written["entries"]] == list(names[1:])
    assert [f["object"] for f in written["failed"]] == ["o00"] and "cameras.json" in written["failed"][0][
        "reason"
    ]
    assert "o00 is left out" in capsys.readouterr().err


def test_an_object_that_cannot_be_sampled_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tuple(f"o{i:02d}" for i in range(10))
    manifest = write_renders(tmp_path / "renders", names)

    def sometimes(*arguments: Any) -> Any:
        if arguments[-1] == "o03":
            raise MemoryError("1 TiB")
        return sample_one(*arguments)

    monkeypatch.setattr(sets, "sample_one", sometimes)
    sample_set(sample_job(steps=1), manifest, tmp_path / "out")
    written = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [e["object"] for e in written["entries"]] == [name for name in names if name != "o03"]
    assert [f["object"] for f in written["failed"]] == ["o03"]
    assert "more memory than this machine has (1 TiB" in written["failed"][0]["reason"]


def test_a_rig_of_its_own_and_some_views_for_the_reconstructor(renders: Path, tmp_path: Path) -> None:
    """Another rig than the renders name: all eight views are generated and drawn, four are reconstructed."""
    rig = Rig(azimuths_deg=[i * 45 for i in range(8)])
    job = sample_job(steps=2)
    pair = job.pair.model_copy(update={"rig": rig, "reconstruct": [0, 2, 4, 6]})
    sample_set(job.model_copy(update={"pair": pair}), renders, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["rig"] == rig.model_dump() and manifest["reconstruct"] == [0, 2, 4, 6]
    steps = np.load(tmp_path / "a/seed0/steps.npz")
    assert steps["views"].shape == steps["renders"].shape == (2, 8, 32, 32, 3)
    assert json.loads((tmp_path / "a/seed0/sample.json").read_text())["network_calls"] == 4


def test_too_many_failures_stop_the_set(renders: Path, tmp_path: Path) -> None:
    shutil.copytree(renders.parent, tmp_path / "renders")
    (tmp_path / "renders/a/cameras.json").unlink()
    with pytest.raises(UserError, match=r"1 of 3 objects .*max_failure_rate allows; the first, a: "):
        sample_set(sample_job(steps=1), tmp_path / "renders/manifest.tsv", tmp_path / "out")
    assert not (tmp_path / "out/manifest.json").exists()


def test_what_cannot_be_sampled_is_said_first(renders: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no feedback 'nothing'"):
        sample_set(sample_job("nothing"), renders, tmp_path)
    with pytest.raises(UserError, match=r"none has no student.safetensors"):
        sample_set(sample_job(run="both"), renders, tmp_path, aligned=tmp_path / "none")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "x.ply"], "give a photograph, or --renders and --method"),
        (["--out", "x", "--renders", "r", "--method", "m", "--settings", "s"], "give a photograph, or"),
        (["--out", "x", "--renders", "r", "--method", "m"], "sample.methods does not define 'm'"),
        (["--out", "x", "--renders", "r", "--settings", "no.json"], "no settings can be read from no.json"),
        (["no.jpg", "--out", "x.ply"], "there is no picture at no.jpg"),
        (["no.jpg", "--out", "x.ply", "--renders", "r"], "not both"),
    ],
)
def test_command_line_says_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "aligncvc.sample", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(aligncvc.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == 2 and sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1

"""docs/evaluating-your-method.md as it stands: the snippet, the list, the configurations, the renders."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aligncvc.config.pairing import judged
from aligncvc.config.protocols import load_protocol
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.predictions import load_prediction, predicted_method
from aligncvc.files import PROJECT_ROOT
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg

sys.path.insert(0, str(PROJECT_ROOT / "tests/workflow"))

from workflow_copy import copy_checkout, jobs, snakemake

BLOCK = re.compile(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", re.DOTALL)
BLOCKS = dict(BLOCK.findall((PROJECT_ROOT / "docs/evaluating-your-method.md").read_text()))
DEMO = load_protocol("demo").render


def ring() -> Cameras:
    lens = DEMO.model_dump(include={"distance", "fov_y_deg", "size_px"})
    return orbit(ring_azimuths_deg(DEMO.ring_views), DEMO.elevation_deg, **lens)


def write_own_renders(folder: Path, names: list[str]) -> Path:
    """What the page says that renders of one's own must be, and nothing more: dots of one colour a view."""
    cameras = ring()
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(len(cameras)):
            picture = np.zeros((64, 64, 4), np.uint8)
            picture[20:44, 20:44] = (10 * i, 90, len(name), 255)
            Image.fromarray(picture).save(folder / name / f"{i:03d}.png")
        facts = {"convention": "opencv-c2w-zup", "c2w": cameras.c2w.tolist(), "rigs": {"rig": [0, 4, 8, 12]}}
        lens = {"fov_y_deg": 39.6, "width": 64, "height": 64, "near": 1.5, "far": 4.5}
        (folder / name / "cameras.json").write_text(json.dumps(facts | lens))
    lines = ["id\tstatus", *(f"{name}\tok" for name in names)]
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.tsv"


@pytest.fixture
def truth(tmp_path: Path) -> GroundTruth:
    manifest = write_own_renders(tmp_path / "results/renders/eval", ["cup", "pot"])
    return GroundTruth(judged(load_protocol("demo")), manifest, None)


def test_the_snippet_feeds_the_input_view_and_says_where_the_answers_stand(
    truth: GroundTruth, tmp_path: Path
) -> None:
    (tmp_path / "predict.py").write_text(BLOCKS["predict.py"])
    subprocess.run([sys.executable, "predict.py"], cwd=tmp_path, check=True)
    trials = predicted_method(tmp_path / "pred/mymethod", truth).trials
    assert list(trials) == [("cup", 0), ("pot", 0)]
    for name in ("cup", "pot"):
        posed = truth.load(name)
        made = load_prediction(tmp_path / "pred/mymethod" / name, posed)
        assert (
            made.views is not None and [note for note in made.notes if "one image, equal" not in note] == []
        )
        assert torch.equal(made.views, posed.views.on_white()[:1].expand(4, -1, -1, -1)[None])
    said = json.loads((tmp_path / "pred/mymethod/cameras.json").read_text())
    ours = torch.tensor(said["c2w"]) * torch.tensor([1.0, -1, -1, 1])  # OpenGL's axes to OpenCV's
    torch.testing.assert_close(ours, ring().c2w[[0, 4, 8, 12]], atol=1e-6, rtol=0)


def test_renders_as_the_page_describes_them_are_a_ground_truth(truth: GroundTruth) -> None:
    posed = truth.load("pot")
    assert posed.rig == [0, 4, 8, 12] and len(posed.views) == 16
    assert posed.views.rgba[3, :, 30, 30].tolist() == pytest.approx([30 / 255, 90 / 255, 3 / 255, 1])
    assert truth.surface("pot") is None and list(truth.sha256()) == ["cup", "pot"]


def test_a_folder_of_meshes_is_an_evaluation_set(tmp_path: Path) -> None:
    checkout, meshes = copy_checkout(tmp_path / "checkout"), tmp_path / "my meshes"
    (meshes / "deep").mkdir(parents=True)
    bundled = (checkout / "assets/objects").iterdir()
    for name in ("a chair.glb", "deep/cup.glb"):
        (meshes / name).write_bytes(next(bundled).read_bytes())
    command = [sys.executable, "-m", "aligncvc.objects.folder", meshes, "--out", "config/objects/mine.tsv"]
    subprocess.run(command, cwd=checkout, env={"PYTHONPATH": "src"}, check=True)
    for name in ("config/protocols/mine.yaml", "config/mine.yaml"):
        (checkout / name).write_text(BLOCKS[name].replace("/data/my-meshes", str(meshes)))
    (checkout / "pred/mymethod").mkdir(parents=True)
    own = ("--configfile", "config/mine.yaml")
    renders, table = "results/mine/renders/eval/manifest.tsv", "results/mine/table1.csv"
    assert jobs(snakemake(checkout, "-n", renders, *own).stdout) == {"objects": 1, "renders": 1}
    assert jobs(snakemake(checkout, "-n", table, *own).stdout) == {
        "objects": 1, "renders": 1, "checkpoints": 4, "prediction": 1, "table": 1,
    }  # fmt: skip
    snakemake(checkout, *own, "--cores", "1", "results/mine/objects/eval/manifest.tsv")
    rows = (checkout / "results/mine/objects/eval/manifest.tsv").read_text()
    assert "a-chair" in rows and "deep-cup" in rows and "failed" not in rows


def test_the_protocol_at_256_px_is_planned(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    large = ("--configfile", "config/demo-256.yaml")
    found = snakemake(checkout, "-n", "results/demo-256/renders/eval/manifest.tsv", *large).stdout
    assert jobs(found) == {"objects": 1, "renders": 1}
    (checkout / "pred/mymethod").mkdir(parents=True)
    mine = ("--config", "evaluate={predictions: {mymethod: {folder: pred/mymethod}}}")
    found = jobs(snakemake(checkout, "-n", "results/demo-256/table1.csv", *large, *mine).stdout)
    assert found == {"objects": 1, "renders": 1, "checkpoints": 4, "prediction": 1, "table": 1}

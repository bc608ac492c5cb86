"""docs/adding-a-model.md, followed word for word, from outside the package: files, ledger, pair, stages."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from aligncvc.files import PROJECT_ROOT

sys.path.insert(0, str(PROJECT_ROOT / "tests/align"))

from tiny_world import RING, write_protocol, write_renders

PAGE = PROJECT_ROOT / "docs/adding-a-model.md"
LEDGER = PROJECT_ROOT / "config/checkpoints.yaml"
BLOCK = re.compile(r"```(python|yaml)\n# (\S+?)(?:, under (\w+):)?\n(.*?)```", re.DOTALL)


def python(folder: Path, *arguments: str) -> str:
    """`python ARGUMENTS` in the user's folder, with the package and that folder on the path."""
    path = f"{PROJECT_ROOT / 'src'}:{folder}"
    environment = {"PYTHONPATH": path, "PATH": os.defpath, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, text=True, capture_output=True, check=False
    )
    assert result.returncode == 0, f"{' '.join(arguments)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the user's with what the page says: files of my_models, ledger, configuration."""
    folder = tmp_path_factory.mktemp("mine")
    ledger = yaml.safe_load(LEDGER.read_text())
    for _, name, section, content in BLOCK.findall(PAGE.read_text()):
        if section:
            ledger[section] |= yaml.safe_load(content.replace("file:my_models", f"file:{folder}/my_models"))
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
    for package in ("", "/pixels", "/sheets"):
        (folder / f"my_models{package}/__init__.py").touch()
    # `record` edits the ledger line by line: keep the layout that the project's has
    (folder / "config/checkpoints.yaml").write_text(yaml.safe_dump(ledger, sort_keys=False))
    # a world of 32 px in place of the demo's renders
    config = yaml.safe_load((folder / "config/mine.yaml").read_text())
    config["checkpoints"] = {"ledger": str(folder / "config/checkpoints.yaml")}
    config["render"] = {"size_px": 32, "ring_views": RING, "rig_views": 4}
    config["evaluate"] = {"protocol": write_protocol(folder / "config/protocol.yaml"), "curves": []}
    (folder / "config/mine.yaml").write_text(yaml.safe_dump(config))
    write_renders(folder / "renders")
    return folder


def test_every_block_of_the_page_is_followed(mine: Path) -> None:
    text = PAGE.read_text()
    assert len(BLOCK.findall(text)) == text.count("```") // 2 == 8
    assert (mine / "my_models/pixels/network.py").is_file() and (mine / "my_models/every_other.py").is_file()


@pytest.fixture(scope="module")
def recorded(mine: Path) -> Path:
    """Weight files made by the toy networks, recorded as the page says."""
    script = (
        "import torch; from safetensors.torch import save_file\n"
        "from my_models.pixels import network as p; from my_models.sheets import network as s\n"
        "torch.manual_seed(3)\n"
        "save_file(p.build({'width': 8}, 32).unet.state_dict(), 'my_models/unet.safetensors')\n"
        "save_file(s.build({}).state_dict(), 'my_models/recon.safetensors')\n"
    )
    python(mine, "-c", script)
    for line in re.findall(
        r"^    python -m (aligncvc\.checkpoints record .*)$", PAGE.read_text(), re.MULTILINE
    ):
        python(mine, "-m", *line.split(), "--ledger", "config/checkpoints.yaml")
    return mine


def test_describe_counts_the_toy(recorded: Path) -> None:
    said = python(
        recorded, "-m", "aligncvc.checkpoints", "describe", "my-pixels", "--ledger", "config/checkpoints.yaml"
    )
    assert "unet: 387 parameters in 12 keys" in said and "my_models.pixels" in said


@pytest.mark.parametrize("pair", ["pixels+sheets", "pixels+lgm"])
def test_the_toys_go_through_align_sample_and_evaluate(recorded: Path, pair: str) -> None:
    mine, out = recorded, recorded / pair
    common = ("--config", "config/mine.yaml")
    renders = ("--renders", "renders/manifest.tsv")
    aligned, samples = str(out / "aligned"), str(out / "samples")
    python(mine, "-m", "aligncvc.align", *common, "--pair", pair, "--run", "both", *renders, "--out", aligned)
    lines = [json.loads(line) for line in (out / "aligned/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1] and all(line["grad_student"] > 0 for line in lines)
    chosen = ("--pair", pair, "--method", "mine_4")
    python(mine, "-m", "aligncvc.sample", *common, *chosen, "--aligned", aligned, *renders, "--out", samples)
    manifest = json.loads((out / "samples/manifest.json").read_text())
    assert (manifest["pair"], manifest["method"], len(manifest["entries"])) == (pair, "mine_4", 3)
    csv_file = str(out / "mine.csv")
    python(
        mine,
        "-m",
        "aligncvc.evaluate",
        *common,
        "--sample",
        samples,
        *renders,
        "--objects",
        "None",
        "--out",
        csv_file,
    )
    with Path(csv_file).open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["pair"] for row in rows} == {pair}
    assert {row["value"] for row in rows if row["metric"] == "failed"} == {"0"}
    assert any(row["metric"] == "psnr" and float(row["value"]) > 5 for row in rows)


def test_the_workflow_plans_both_pairs_and_an_edit_reruns_its_pair_alone(recorded: Path) -> None:
    script = (
        "import yaml; from aligncvc.workflow.jobs import JobTable\n"
        "from aligncvc.workflow.fingerprint import code_hash, job_modules\n"
        "jobs = JobTable(yaml.safe_load(open('config/mine.yaml')), 'mine').jobs\n"
        "for key, job in jobs.items():\n"
        "    print('/'.join(key), *job_modules(job), code_hash('aligncvc.section', *job_modules(job)))\n"
    )

    def planned() -> dict[str, list[str]]:
        lines = python(recorded, "-c", script).splitlines()
        return {line.split()[0]: line.split()[1:] for line in lines}

    before = planned()
    assert before["sample/pixels+sheets/mine_4"][:-1] == [
        "my_models.every_other", "my_models.pixels.network", "my_models.sheets.network"
    ]  # fmt: skip
    assert "align/pixels+lgm/both" in before
    path = recorded / "my_models/sheets/network.py"
    path.write_text(path.read_text() + "EDITED = True\n")
    changed = {name for name, value in planned().items() if value != before[name]}
    own = {"sample/pixels+sheets/mine_4", "align/pixels+sheets/both", "pretrain/my-sheets"}
    assert changed == own


def test_weights_that_do_not_fit_are_named(recorded: Path) -> None:
    path = recorded / "my_models/unet.safetensors"
    kept = path.read_bytes()
    save_file({"into.weight": torch.zeros(1)}, path)
    try:
        with pytest.raises(AssertionError, match="is not checkpoint my-pixels-unet"):
            python(recorded, "-m", "aligncvc.checkpoints", "verify", "my-pixels-unet", "--ledger",
                   "config/checkpoints.yaml")  # fmt: skip
    finally:
        path.write_bytes(kept)

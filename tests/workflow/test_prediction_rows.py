"""Folders of predictions as rows of table 1: planned, measured, kept, stale when a file of theirs changes."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trimesh
import yaml
from workflow_copy import copy_checkout, jobs, snakemake

from aligncvc.config.jobs.evaluate import PredictionJob
from aligncvc.config.root import parse_config
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.workflow.jobs import JobTable

sys.path.insert(0, str(PROJECT_ROOT / "tests/align"))

from tiny_world import write_protocol, write_renders

Planned = Callable[..., dict[str, int]]
MINE = ("--config", "evaluate={predictions: {mine.v2: {folder: 'pred/it''s mine'}}}")


def with_predictions(**found: object) -> dict[str, object]:
    return {"evaluate": {"predictions": found}}


def test_a_row_of_table_1_and_of_no_other(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    table = JobTable(with_predictions(mine={"folder": str(tmp_path / "mine"), "up": "y"}), "test")
    job = table.jobs["prediction", "mine"]
    assert isinstance(job, PredictionJob)
    assert (job.method, job.predictions.path, job.predictions.up) == ("mine", tmp_path / "mine", "y")
    assert job.protocol == table.plan.protocol and job.judge == table.plan.judge

    class Table1:
        table = "table1"

    class Table2:
        table = "table2"

    row = f"{table.metrics}/elsewhere/mine.csv"
    assert row in table.table_records(Table1) and row not in table.table_records(Table2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (with_predictions(aware_4={"folder": "x"}), "both have 'aware_4'"),
        (with_predictions(**{"a b": {"folder": "x"}}), "evaluate.predictions holds the name 'a b'"),
        (with_predictions(**{"control-gt": {"folder": "x"}}), "holds the name 'control-gt'"),
        (with_predictions(mine={}), "evaluate.predictions.mine.folder: Field required"),
        (with_predictions(mine={"folder": "x", "seed": 1}), "evaluate.predictions.mine.seed: Extra"),
        ({"pairs": {"elsewhere": {"generator": "demo-wonder3d", "reconstructor": "demo-lgm"}}}, "rename it"),
    ],
)
def test_names_and_keys_that_cannot_be(data: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_config(data, "test")


def test_a_folder_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"predictions\.mine names .*pred/nowhere, which is no folder"):
        JobTable(with_predictions(mine={"folder": "pred/nowhere"}), "test")


def test_a_folder_that_changes_is_measured_again(checkout: Path, planned: Planned) -> None:
    folder = checkout / "pred/it's mine"
    (folder / "a").mkdir(parents=True)
    (folder / "a/000.png").write_bytes(b"one")
    assert planned("results/table1.csv") == {}
    assert planned("results/table1.csv", *MINE) == {"prediction": 1, "table": 1}
    assert planned("results/table2.csv", *MINE) == {}, "table 2 does not hang on predictions"


@pytest.mark.parametrize("prefix", ["", "mine"])
def test_in_a_module_the_folder_is_the_checkouts(tmp_path: Path, prefix: str) -> None:
    copy_checkout(tmp_path / "modules/aligncvc")
    (tmp_path / "modules/aligncvc/pred/it's mine").mkdir(parents=True)
    line = f'    prefix: "{prefix}"' if prefix else ""
    (tmp_path / "Snakefile").write_text(
        f"""
module aligncvc:
    snakefile: "modules/aligncvc/workflow/Snakefile"
    config: config
{line}

use rule * from aligncvc as aligncvc_*
"""
    )
    root = Path(prefix, "results")
    smoke = ("--configfile", "modules/aligncvc/config/smoke.yaml")
    output = snakemake(tmp_path, "-n", "-p", f"{root}/table1.csv", *smoke, *MINE).stdout
    assert jobs(output)["aligncvc_prediction"] == 1
    settings = tmp_path / root / "settings/prediction/mine.v2.json"
    assert f"--settings {root}/settings/prediction/mine.v2.json --renders {root}/renders" in output
    assert PredictionJob.read(settings).predictions.folder == "pred/it's mine"


@pytest.fixture
def rendered(tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """A checkout in which objects and renders exist, and a configuration with predictions alone."""
    checkout = copy_checkout(tmp_path / "check out")
    write_renders(checkout / "results/renders/eval")
    (checkout / "results/renders/eval/contact_sheet.png").write_bytes(b"")
    rows = ["\t".join(["id", "path", "sha256", "licence", "creator", "source", "split", "status", "reason"])]
    objects = checkout / "results/objects/eval"
    objects.mkdir(parents=True)
    for path in (checkout / "results/renders/eval").glob("*/cameras.json"):
        facts = json.loads(path.read_text()) | {"normalisation": {"scale": 1.0, "offset": [0.0, 0.0, 0.0]}}
        path.write_text(json.dumps(facts))
        trimesh.creation.box().export(objects / f"{path.parent.name}.glb")
        rows.append(f"{path.parent.name}\t{path.parent.name}.glb\t\tCC0-1.0\tme\tx\teval\tok\t")
    (objects / "manifest.tsv").write_text("\n".join(rows) + "\n")
    write_protocol(checkout / "config/protocols/tiny.yaml")
    own = yaml.safe_load((checkout / "config/demo-256.yaml").read_text())
    del own["experiment"]
    size = yaml.safe_load((checkout / "config/protocols/tiny.yaml").read_text())["render"]["size_px"]
    own |= {"render": {"size_px": size}}
    own["evaluate"] |= {"protocol": "tiny", "predictions": {"mine": {"folder": "pred/mine"}}}
    (checkout / "own.yaml").write_text(yaml.safe_dump(own))
    return checkout, ("--configfile", "own.yaml")


def test_predictions_alone_fill_a_table_that_reruns_keep(rendered: tuple[Path, tuple[str, ...]]) -> None:
    checkout, own = rendered
    renders = checkout / "results/renders/eval"
    for folder in (path.parent for path in renders.glob("*/cameras.json")):
        theirs = checkout / "pred/mine" / folder.name
        theirs.mkdir(parents=True)
        facts = json.loads((folder / "cameras.json").read_text())
        rig = facts["rigs"]["rig"]
        for i, view in enumerate(rig):
            (theirs / f"{i}.png").write_bytes((folder / f"{view:03d}.png").read_bytes())
        facts = {key: facts[key] for key in ("convention", "width", "height", "fov_y_deg")} | {
            "c2w": [facts["c2w"][view] for view in rig]
        }
        (theirs / "cameras.json").write_text(json.dumps(facts))
    table = "results/table1.csv"
    inputs = [f"results/{stage}/eval/manifest.tsv" for stage in ("objects", "renders")]
    snakemake(checkout, "--touch", *inputs, *own)
    snakemake(checkout, table, *own, "--cores", "1")
    with (checkout / table).open() as handle:
        (row,) = csv.DictReader(handle)
    assert (row["method"], row["pair"], float(row["views_psnr"])) == ("mine", "elsewhere", 100.0)
    assert row["objects"] == row["objects_total"] and row["psnr"] == "n/a"
    assert "Nothing to be done" in snakemake(checkout, table, *own, "--cores", "1").stdout
    changed = next((checkout / "pred/mine").glob("*/0.png"))
    changed.write_bytes(changed.read_bytes())
    assert jobs(snakemake(checkout, "-n", table, *own).stdout) == {"prediction": 1, "table": 1}

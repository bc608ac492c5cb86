"""The verdict's page, JSON and pictures from a small synthetic run on disk."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from test_figures import World

from aligncvc.config.sections import load_config
from aligncvc.errors import UserError
from aligncvc.paper.data import load_material
from aligncvc.paper.style import RC
from aligncvc.paper.verdict import read_memory, read_notes, write_verdict
from aligncvc.paper.verdict_claims import TITLES
from aligncvc.paper.verdict_views import measure, measured_once, sharpness

SMALL = {"weights": None, "down_channels": [8, 16], "down_attention": [False, True], "up_channels": [16, 8],
         "up_attention": [True, False], "heads": 2}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def coarse() -> Iterator[None]:
    """Fewer pixels, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aligncvc.paper.verdict_figures.DPI", 60)
        patch.setitem(RC, "savefig.dpi", 60)
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder as the workflow lays it out."""
    world = World(tmp_path_factory.mktemp("verdict"))
    data = yaml.safe_load(world.config.read_text())
    data |= {"recon": SMALL, "evaluate": {"curves": list(world.methods)}}
    world.config.write_text(yaml.safe_dump(data))
    slug = load_config(world.config).protocol.slug
    shutil.copytree(world.root / "metrics", world.root / "metrics" / slug)
    return world.root


@pytest.fixture(scope="module")
def page(results: Path) -> Path:
    write_verdict(results, results / "page", results / "no-notes.yaml")
    return results / "page"


def test_everything_on_the_page_is_there(page: Path) -> None:
    text = (page / "README.md").read_text()
    pictures = sorted(path.name for path in page.glob("*.png"))
    assert pictures == ["objects.png", "steps.png", "training.png"]
    for name in (*pictures, "table1.csv", "table2.csv"):
        assert f"]({name})" in text and (page / name).stat().st_size > 0
    assert sum(path.stat().st_size for path in page.glob("*.png")) < 3e6
    for title in TITLES.values():
        assert title in text
    assert "| Objects, seeds | 3 held out, seeds 0 |" in text


def test_json_names_what_is_missing_and_where_it_comes_from(page: Path) -> None:
    found = json.loads((page / "verdict.json").read_text())
    assert found["about"]["objects"] == 3 and found["about"]["protocol_hash"]
    assert found["about"]["runs"] == [] and found["about"]["commit"]
    # the world has methods of other names: nothing can be judged, and nothing is
    assert {claim["holds"] for claim in found["claims"].values()} == {None}
    assert all(line["effect"] is None and "n/a" in line["note"] for line in found["lines"])


def test_the_page_is_the_same_twice(results: Path, page: Path, tmp_path: Path) -> None:
    write_verdict(results, tmp_path / "again", results / "no-notes.yaml")
    for path in page.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_renderings_are_judged_like_views(results: Path) -> None:
    config = load_config(results / "config.yaml")
    manifests = [results / "sample" / name / "manifest.json" for name in ("plain", "ours")]
    material = load_material(config, [], manifests, results / "renders/eval/manifest.tsv")
    records = list(measure(config, material.samples, material.renders, ["ours"]))
    found = {(r.method, r.metric) for r in records}
    assert ("renderings:ours", "heldout_psnr") in found and ("plain", "sharpness") in found
    assert not any(method == "renderings:plain" for method, _ in found)
    # the world's renderings are the true views themselves, its views are noisy
    ours = {m: [r.value for r in records if (r.method, r.metric) == ("ours", m)] for _, m in found}
    assert ours["sharpness"] == pytest.approx([1.0] * 3, abs=0.01) and min(ours["views_sharpness"]) > 1.05

    kept = results / "kept.csv"
    once = measured_once(kept, config, material.samples, material.renders, ["ours"])
    written = kept.stat().st_mtime_ns
    again = measured_once(kept, config, material.samples, material.renders, ["ours"])
    assert kept.stat().st_mtime_ns == written and [r.value for r in again] == pytest.approx(
        [r.value for r in once]
    )
    measured_once(kept, config, material.samples, material.renders, [])
    assert kept.stat().st_mtime_ns != written


def test_sharpness_is_a_share_of_the_truths() -> None:
    truth = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert sharpness(truth, truth) == 1.0
    assert sharpness(0.5 * truth + 0.25, truth) == pytest.approx(0.5)
    assert math.isnan(sharpness(truth, torch.ones_like(truth)))


def test_notes_and_memory_are_read_or_refused(tmp_path: Path) -> None:
    assert read_notes(tmp_path / "none.yaml") == {} and read_memory(tmp_path / "none.csv") == []
    (tmp_path / "notes.yaml").write_text("a: because\n")
    assert read_notes(tmp_path / "notes.yaml") == {"a": "because"}
    (tmp_path / "notes.yaml").write_text("z: because\n")
    with pytest.raises(UserError, match="'z'"):
        read_notes(tmp_path / "notes.yaml")
    (tmp_path / "memory.csv").write_text("variant,peak_mb,weights_mb,hardware\nboth,900.5,30,cpu\n")
    assert read_memory(tmp_path / "memory.csv")[0]["peak_mb"] == "900.5"
    (tmp_path / "memory.csv").write_text("variant,peak_mb\nboth,much\n")
    with pytest.raises(UserError, match="no table of memory"):
        read_memory(tmp_path / "memory.csv")


def test_without_results_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("pair: x\n")
    with pytest.raises(UserError, match="run the workflow first"):
        write_verdict(tmp_path, tmp_path / "page")

"""The verdict's page, JSON and pictures from a small synthetic run on disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from test_figures import FIRST, SECOND, World

from aligncvc.errors import UserError, cli
from aligncvc.files import PROJECT_ROOT
from aligncvc.paper.__main__ import main
from aligncvc.paper.claims import lines, load_claims
from aligncvc.paper.inputs import VerdictInputs
from aligncvc.paper.style import RC
from aligncvc.paper.verdict import read_memory, read_notes, write_verdict

CLAIMS = PROJECT_ROOT / "config/claims/verdict.yaml"


@pytest.fixture(scope="module", autouse=True)
def coarse() -> Iterator[None]:
    """Fewer pixels, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aligncvc.paper.verdict.DPI", 60)
        patch.setitem(RC, "savefig.dpi", 60)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("verdict"))


def inputs(world: World) -> VerdictInputs:
    return VerdictInputs(
        claims=CLAIMS, metrics=world.metrics, samples=world.samples, renders=world.renders,
        align=tuple(world.logs), discrimination=world.verdicts,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(world: World) -> Path:
    """The folder that the command wrote."""
    files = {"--metrics": world.metrics, "--samples": world.samples, "--align": world.logs}
    words = [word for key, paths in files.items() for word in (key, *map(str, paths))]
    words += ["--renders", str(world.renders), "--discrimination", str(world.verdicts)]
    words += ["--claims", str(CLAIMS), "--settings", str(world.root / "paper.json")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["paper", "verdict", *words, "--out", str(world.root / "page")])
        cli(main)
    return world.root / "page"


def test_everything_on_the_page_is_there(page: Path) -> None:
    text = (page / "README.md").read_text()
    pictures = sorted(path.name for path in page.glob("*.png"))
    assert pictures == ["agreement.png", "objects.png", "steps.png", "training.png"]
    for name in (*pictures, "table1.csv", "table2.csv"):
        assert f"]({name})" in text and (page / name).stat().st_size > 0
    assert sum(path.stat().st_size for path in page.glob("*.png")) < 3e6
    for claim in load_claims(CLAIMS).claims.values():
        assert claim.title in text
    assert "| Objects, seeds | 3 held out, seeds 0 |" in text and f"| Pair | {FIRST} |" in text


def test_json_names_what_is_missing_and_where_it_comes_from(page: Path) -> None:
    found = json.loads((page / "verdict.json").read_text())
    assert found["about"]["objects"] == 3 and found["about"]["protocol_hash"]
    assert found["about"]["runs"] == [] and found["about"]["commit"]
    # the world has methods of other names: nothing can be judged, and nothing is
    assert {claim["holds"] for claim in found["claims"].values()} == {None}
    assert all(line["effect"] is None and "n/a" in line["note"] for line in found["lines"])


PAGES = {".": "abstract", "depth": "depth", "scans": "scans", "ycb": "scans", "published": "published"}


@pytest.mark.parametrize(("folder", "name"), PAGES.items())
def test_the_committed_verdicts_are_of_this_format(page: Path, folder: str, name: str) -> None:
    committed = json.loads((PROJECT_ROOT / "docs/verdict" / folder / "verdict.json").read_text())
    found = json.loads((page / "verdict.json").read_text())
    claims = load_claims(PROJECT_ROOT / f"config/claims/{name}.yaml")
    assert committed["about"].keys() == found["about"].keys()
    assert committed["about"]["claims"] == f"claims/{name}.yaml"
    assert {key: claim.title for key, claim in claims.claims.items()} == {
        key: claim["title"] for key, claim in committed["claims"].items()
    }
    asked = list(lines(claims, [], {}))
    assert len(committed["lines"]) >= len(asked)
    told = {(line["claim"], line["statement"], line["main"]) for line in committed["lines"]}
    assert {(one.claim, one.statement, one.main) for one in asked if not one.note} <= told
    assert committed["lines"][0].keys() == found["lines"][0].keys()


def test_the_page_is_the_same_twice(world: World, page: Path, tmp_path: Path) -> None:
    write_verdict(world.job, inputs(world), tmp_path / "again")
    for path in page.glob("[!.]*"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_claims_about_two_pairs_have_pictures_of_both(tmp_path: Path) -> None:
    world = World(tmp_path / "world", (FIRST, SECOND))
    spec = {"statement": "Residual of {method} by {pair}", "rule": "better", "method": "ours",
            "against": "plain", "metric": "residual_psnr"}  # fmt: skip
    more = {**spec, "pair": SECOND, "against_pair": FIRST}
    claim = {"title": "t", "group": "claims", "lines": [spec, more]}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"pair": FIRST, "claims": {"a": claim}}))
    asked = replace(inputs(world), claims=tmp_path / "c.yaml")
    found = write_verdict(world.job, asked, tmp_path / "page")
    assert found["about"]["pair"] == f"{FIRST}, {SECOND}"
    # levels of the methods are 10 (plain) and 20 (ours) of the first pair, 40 (ours) of the second
    assert [line["effect"] for line in found["lines"]] == [10.0, 30.0]
    assert {f"objects_{FIRST}.png", f"objects_{SECOND}.png"} <= {
        p.name for p in (tmp_path / "page").iterdir()
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"pair": "third", "claims": {"a": claim}}))
    with pytest.raises(UserError, match="is about the pair 'third'"):
        write_verdict(world.job, asked, tmp_path / "page")


def test_notes_and_memory_are_read_or_refused(world: World, tmp_path: Path) -> None:
    assert read_notes(None, "az") == {} and read_memory(None) == []
    (tmp_path / "notes.yaml").write_text("a: because\n")
    assert read_notes(tmp_path / "notes.yaml", "ab") == {"a": "because"}
    (tmp_path / "notes.yaml").write_text("z: because\n")
    with pytest.raises(UserError, match="'z'"):
        write_verdict(world.job, replace(inputs(world), notes=tmp_path / "notes.yaml"), tmp_path)
    (tmp_path / "memory.csv").write_text("variant,peak_mb,weights_mb,hardware\nboth,900.5,30,cpu\n")
    assert read_memory(tmp_path / "memory.csv")[0]["peak_mb"] == "900.5"
    (tmp_path / "memory.csv").write_text("variant,peak_mb\nboth,much\n")
    with pytest.raises(UserError, match="no table of memory"):
        read_memory(tmp_path / "memory.csv")

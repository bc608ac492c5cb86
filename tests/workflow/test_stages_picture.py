"""docs/images/workflow.svg shows the stages, and its arrows are those of the rules' graph."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from workflow_copy import copy_checkout, snakemake

from aligncvc.files import PROJECT_ROOT

SVG = "{http://www.w3.org/2000/svg}"
PICTURE = ET.parse(PROJECT_ROOT / "docs/images/workflow.svg").getroot()
ARROWS = [path for path in PICTURE.iter(f"{SVG}path") if path.get("data-from")]
BY_HAND = {("pretrain", "checkpoints")}
"""Weights of `snakemake pretrain` are recorded by a person."""


def test_every_file_of_rules_is_a_box() -> None:
    names = {text.text for text in PICTURE.iter(f"{SVG}text") if text.get("font-weight")}
    stages = {path.stem for path in (PROJECT_ROOT / "workflow/rules").glob("*.smk")} - {"common", "bench"}
    assert names == stages


def test_arrows_are_what_stages_read(tmp_path: Path) -> None:
    """Whole lines: the demo's graph. Dashed ones are outside of it."""
    rulegraph = snakemake(copy_checkout(tmp_path / "checkout"), "--rulegraph").stdout
    stage_of = {
        rule: path.stem
        for path in (PROJECT_ROOT / "workflow/rules").glob("*.smk")
        for rule in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)
    }
    rule = dict(re.findall(r'(\d+)\[label = "(\w+)"', rulegraph))
    edges = {(rule[a], rule[b]) for a, b in re.findall(r"(\d+) -> (\d+)", rulegraph)}
    read = {(stage_of[a], stage_of[b]) for a, b in edges if b != "all"}
    drawn = {(str(arrow.get("data-from")), str(arrow.get("data-to"))): arrow for arrow in ARROWS}
    dashed = {pair for pair, arrow in drawn.items() if arrow.get("stroke-dasharray")}
    assert {pair for pair in read if pair[0] != pair[1]} == set(drawn) - dashed
    assert dashed >= BY_HAND and all("pretrain" in pair for pair in dashed)

"""The report from a small results tree: nothing from the network, everything described."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.config.paper_job import paper_job
from aligncvc.config.plan import Plan
from aligncvc.config.root import Config
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.objects.listing import ObjectRow, write_list
from aligncvc.paper.commit import commit
from aligncvc.paper.headline import read_headline
from aligncvc.paper.inputs import ReportInputs
from aligncvc.paper.live_models import read_models
from aligncvc.paper.pair_results import lead_row
from aligncvc.paper.report import (
    WORDS,
    read_figures,
    read_render_set,
    read_table,
    stage_seconds,
    write_report,
)
from aligncvc.paper.reported import write_reported
from aligncvc.paper.table_formats import Block, Cell, Column, Table, as_csv, as_json
from aligncvc.scene.gaussians import Gaussians, save_ply
from aligncvc.viewer.templating import render_text

OBJECTS = ("chair", "lamp", "mug")
PAIR = "wonder3d+lgm"
REASON = "the file <b>ends</b> early"
VOID = {"img", "meta", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Elements with their attributes, all text, and whether the tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self.open = "", list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def blob(seed: int, count: int = 300) -> Gaussians:
    random = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=random), dim=1)
    return Gaussians(
        direction * torch.rand(3, generator=random) * 0.7,
        torch.full((count, 3), 0.05),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.full((count,), 0.9),
        direction * 0.5 + 0.5,
    )


def write_set(folder: Path, ids: tuple[str, ...]) -> None:
    lines = ["id\tstatus\tstage\treason\tseconds\tattempts\tjob_hash\tlicence\tcreator"]
    for name in ids:
        (folder / name).mkdir(parents=True)
        Image.new("RGBA", (32, 32), (200, 80, 30, 128)).save(folder / name / "000.png")
        lines.append(f"{name}\tok\tdone\t\t1.00\t1\tabc\tCC0-1.0\tAda & Co")
    lines.append(f"broken\tfailed\timport\t{REASON}\t1.00\t2\tabc\tCC-BY-4.0\tBob")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    Image.new("RGB", (200, 100), "white").save(folder / "contact_sheet.png")


def write_samples(folder: Path, method: str, pair: str = PAIR) -> None:
    entries = [
        {"object": name, "seed": seed, "path": f"{name}/seed{seed}"} for name in OBJECTS for seed in (1, 0)
    ]
    for i, entry in enumerate(entries):
        save_ply(folder / str(entry["path"]) / "model.ply", blob(i))
    (folder / "manifest.json").write_text(json.dumps({"pair": pair, "method": method, "entries": entries}))


@pytest.fixture(scope="module")
def job() -> PaperJob:
    return paper_job(Plan(Config.model_validate({"paper": {"viewer_models": 2}})))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    root = tmp_path / "results"
    write_set(root / "renders/train", ("tree",))
    write_set(root / "renders/eval", OBJECTS)
    for method in ("aligncvc_4", "aware_4"):
        write_samples(root / "sample" / PAIR / method, method)
    for table in ("table1", "table2"):
        columns = (Column("Method", words=True), Column("PSNR ↑"), Column("LPIPS ↓", mark="†"))
        rows = (
            (Cell("aligncvc_4"), Cell("7.50", "7.10", "7.90", best=True), Cell("n/a")),
            (Cell("control:gt"), Cell("9.00", "9.00", "9.00"), Cell("0.1")),
        )
        block = Block("Quality & more", columns, rows, controls=1)
        (root / f"{table}.json").write_text(as_json(asdict(Table((block,), ("† tells <nothing> apart.",)))))
    (root / "figures").mkdir()
    index = []
    for name in ("teaser", "agreement", "comparison", "controls", "training", "odd_one"):
        Image.new("RGB", (1700, 300), (90, 120, 200)).save(root / f"figures/{name}.png")
        index.append(
            {
                "name": name,
                "pair": None if name == "controls" else PAIR,
                "files": [f"{name}.png", f"{name}.pdf"],
                "caption": f"About {name}.",
                "alt": f"alt {name}",
            }
        )
    (root / "figures/index.json").write_text(json.dumps(index))
    (root / "benchmarks/align").mkdir(parents=True)
    (root / "benchmarks/align/both.jsonl").write_text('{"s": 12.5, "cpu_time": 20}\nnot json\n')
    (root / "benchmarks/align/soft.jsonl").write_text('{"s": 2.5, "cpu_time": 3.0}\n')
    return root


def report(job: PaperJob, root: Path, **changes: object) -> Page:
    found = {
        "tables": [root / "table1.csv", root / "table2.csv"],
        "samples": sorted(root.glob("sample/*/*/manifest.json")),
        "renders": [root / "renders/train/manifest.tsv", root / "renders/eval/manifest.tsv"],
    }
    inputs = ReportInputs(figures=root / "figures/index.json", **(found | changes))
    write_report(job, inputs, root / "report.html")
    return Page((root / "report.html").read_text(encoding="utf-8"))


NOTHING = {"tables": [], "samples": [], "renders": []}


HEADS = ("", "_lo", "_hi")


def write_table1(root: Path, **changes: str) -> Path:
    """What `python -m aligncvc.paper table` writes beside table1.json, in brief."""
    compared = {
        f"{metric}_vs_reference{end}": value
        for metric, values in {
            "psnr": ("-0.20", "-1.20", "0.50"),
            "lpips": ("-0.0070", "-0.0210", "-0.0010"),
            "residual_psnr": ("4.10", "1.90", "6.10"),
        }.items()
        for end, value in zip(HEADS, values, strict=True)
    }
    numbers = {
        "two_stage_50": ("21.90", "100", "9.50"), "two_stage_4": ("22.40", "8", "1.10"),
        "aware_4": ("25.10", "8", "2.30"), "aligncvc_4": ("26.00", "8", "2.40"),
        "control:gt": ("23.20", "n/a", "n/a"), "control:copy": ("22.40", "n/a", "n/a"),
    }  # fmt: skip
    lines = []
    for method, (residual, calls, seconds) in numbers.items():
        line = {"method": method, "pair": PAIR, "objects": "12", "best": "", "reference": "two_stage_50"}
        if method.startswith("control"):
            line |= {"pair": "control", "reference": ""}
        line |= dict.fromkeys([f"residual_psnr{end}" for end in HEADS], residual)
        line |= dict.fromkeys([f"network_calls{end}" for end in HEADS], calls)
        line |= dict.fromkeys([f"seconds{end}" for end in HEADS], seconds)
        line |= compared if method == "aligncvc_4" else dict.fromkeys(compared, "n/a")
        lines.append(line | ({"best": "residual_psnr"} | changes if method == "aligncvc_4" else {}))
    (root / "table1.csv").write_text(as_csv(lines))
    return root / "table1.csv"


def test_the_page_begins_with_what_won(job: PaperJob, results: Path) -> None:
    """A sentence, five rows, the comparison, the models; everything else comes later, the tables folded."""
    write_table1(results)
    page = report(job, results)
    words = page.words
    sentence = (
        "With 8 network calls an object instead of 100, aligncvc_4 is better than two_stage_50 by 0.0070 of "
        "LPIPS [0.0010, 0.0210] and 4.10 dB of Residual PSNR [1.90, 6.10]; PSNR does not tell them apart."
    )
    order = [sentence, "Residual PSNR, in dB", "About comparison.", "Turn them", "Methods:", "About teaser."]
    places = [words.index(text) for text in order]
    assert places == sorted(places)
    text = (results / "report.html").read_text(encoding="utf-8")
    first = re.findall(r'<th scope="row">([^<]*)</th>', text[: text.index("</table>")])
    assert first == ["two_stage_50", "aware_4", "aligncvc_4", "control:gt", "control:copy"]
    assert text.index("<strong>26.00</strong>") < text.index("About comparison.")
    folded = re.findall(r"<details( open)?><summary>(\w+)", text)
    assert [name for _, name in folded[:2]] == ["Methods", "Ablation"] and folded[0][0] == folded[1][0] == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"residual_psnr_vs_reference_lo": "-0.10"}, "; PSNR and Residual PSNR do not tell them apart."),
        (
            {
                f"lpips_vs_reference{end}": v
                for end, v in zip(HEADS, ("0.0070", "0.0010", "0.0210"), strict=True)
            },
            "by 4.10 dB of Residual PSNR [1.90, 6.10], and worse by 0.0070 of LPIPS [0.0010, 0.0210]; PSNR",
        ),
        ({"network_calls": "100"}, "aligncvc_4 is better than two_stage_50 by"),
        ({"reference": ""}, "aligncvc_4 is this run's method."),
    ],
)
def test_what_won_follows_the_intervals(
    job: PaperJob, tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    headline = read_headline(job, write_table1(tmp_path, **changes))
    assert headline is not None
    assert words in render_text(WORDS["headline"], **headline._asdict())


def test_no_table_no_headline(job: PaperJob, tmp_path: Path) -> None:
    assert read_headline(job, tmp_path / "table1.csv") is None
    (tmp_path / "table1.csv").write_text("method\n")
    with pytest.raises(UserError, match="lacks the columns"):
        read_headline(job, tmp_path / "table1.csv")


def test_how_it_was_made_names_the_commit_and_what_no_log_ships_of(job: PaperJob, results: Path) -> None:
    words = report(job, results).words
    assert f"commit {commit()}" in words
    assert "aligncvc_4" in words[words.index("The aligned pair of") :][:120]
    assert "Its training log does not; docs/verdict/README.md shows the curves" in words
    other = job.model_copy(update={"pairs": [job.pairs[0].model_copy(update={"demo": False})]})
    assert "Its training log" not in report(other, results).words


def test_nothing_is_loaded_and_everything_is_described(job: PaperJob, results: Path) -> None:
    page = report(job, results)
    assert not page.open  # every element is closed
    assert not page.all("link") and not page.all("iframe")
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "poster", "data"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
        if "href" in attributes:
            assert tag == "a" and attributes["href"].startswith(("#", "https://"))
    images = page.all("img")
    assert len(images) >= 6 + 2 + 4  # figures, sheets, models with their inputs
    assert all(len(image["alt"]) > 3 for image in images)
    anchors = {a["id"] for _, a in page.elements if "id" in a}
    assert {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")} <= anchors
    text = (results / "report.html").read_text(encoding="utf-8")
    assert "@import" not in text and "url(" not in text and "fetch(" not in text
    assert (results / "report.html").stat().st_size < 15_000_000


def test_what_the_page_says(job: PaperJob, results: Path) -> None:
    page = report(job, results)
    words = page.words
    assert "in four denoising steps" in words and "3 objects that its networks never saw" in words
    assert REASON in words  # as text: its markup is escaped
    assert "3 of 4 rendered" in words and "1 of 2 rendered" in words
    assert "Ada & Co chair, lamp, mug CC0-1.0" in words
    assert "About odd_one." in words and "More figures" in words
    assert "15 s, 23 of CPU" in words
    assert "for hours on two processor cores" in words and "stay empty" in words
    assert len([a for _, a in page.elements if a.get("class") == "gs-viewer"]) == job.paper.viewer_models
    assert "chair, by" not in words
    rows = [ObjectRow("chair", "Old chair", "", "s", "", "CC-BY-4.0", "Ada & Co", "eval")]
    write_list(results / "list.tsv", rows)
    listed = job.model_copy(update={"object_lists": [str(results / "list.tsv")]})
    assert "Old chair, by Ada & Co (CC-BY-4.0)" in report(listed, results).words, "beside its model"
    other = job.model_copy(update={"pairs": [job.pairs[0].model_copy(update={"demo": False})]})
    assert "for hours" not in report(other, results).words


def test_missing_optional_inputs_leave_gaps_not_errors(job: PaperJob, results: Path) -> None:
    shutil.rmtree(results / "benchmarks")
    for path in (*results.glob("figures/*.png"), *results.glob("renders/*/contact_sheet.png")):
        path.unlink()
    shutil.rmtree(results / f"sample/{PAIR}/aligncvc_4/chair")
    shutil.rmtree(results / "renders/eval/lamp")
    page = report(job, results)
    assert "Seconds by stage" not in page.words and "About teaser" not in page.words
    assert "Gaussians" in page.words and not page.open


def test_no_samples_and_no_tables(job: PaperJob, results: Path) -> None:
    page = report(job, results, **NOTHING)
    assert not page.open and "How it was made" in page.words and "Turn them" not in page.words


def test_the_method_shown(job: PaperJob, results: Path) -> None:
    assert lead_row(job.rows).steps == 4
    (group,) = read_models(job, [results / f"sample/{PAIR}/aware_4/manifest.json"], [], {"chair": "A chair"})
    assert group.method == "aware_4" and [m.name for m in group.models] == ["A chair", "lamp"]
    assert group.models[0].input is None and all(m.live for m in group.models)


def test_pairs_stand_apart(job: PaperJob, results: Path) -> None:
    """Models by pair, and of the figures the first comparison on top, the other's with the teasers."""
    facts = [*job.pairs, job.pairs[0].model_copy(update={"name": "other"})]
    rows = [*job.rows, *(row.model_copy(update={"pair": "other"}) for row in job.rows)]
    two = job.model_copy(update={"pairs": facts, "rows": rows})
    write_samples(results / "sample/other/aligncvc_4", "aligncvc_4", "other")
    index = json.loads((results / "figures/index.json").read_text())
    both = []
    for entry in index:
        named = [{**entry, "name": f"{entry['name']}_{p}", "pair": p} for p in (PAIR, "other")]
        both += named if entry["pair"] else [entry]
    for entry in both:
        entry["caption"] = f"About {entry['name']}."
    (results / "figures/index.json").write_text(json.dumps(both))
    page = report(two, results)
    words = page.words
    assert "by aligncvc_4 of wonder3d+lgm, aligncvc_4 of other" in words and not page.open
    assert len([a for _, a in page.elements if a.get("class") == "gs-viewer"]) == 2 * job.paper.viewer_models
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(set(ids)) == len(ids)
    places = [
        words.index(f"About {name}.") for name in (f"comparison_{PAIR}", f"teaser_{PAIR}", "comparison_other")
    ]
    assert places == sorted(places) and words.count("About controls.") == 1
    assert words.index("From all sides") < places[1] and "Pairs of networks" in words


def test_models_beyond_the_limit_are_pictures(
    job: PaperJob, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = [results / f"sample/{PAIR}/aligncvc_4/manifest.json"]
    size = len(read_models(job, manifest, [], {})[0].models[0].html)
    monkeypatch.setattr("aligncvc.paper.live_models.MODEL_BYTES", int(size * 1.5))
    models = read_models(job, manifest, [], {})[0].models
    assert [m.live for m in models] == [True, False] and "<script" not in models[1].html
    assert "a picture, because the page would grow too large" in report(job, results).words


def test_tables_keep_the_numbers_and_dash_the_rest(results: Path) -> None:
    table = read_table(results / "table1.csv")
    block = table["blocks"][0]
    assert [c["heading"] for c in block["columns"]] == ["Method", "PSNR ↑", "LPIPS ↓"]
    assert [c["text"] for c in block["rows"][0]] == ["aligncvc_4", "7.50", "\u2013"]
    assert table["title"] == "Methods" and table["notes"] == ["† tells <nothing> apart."]


def test_tables_on_the_page(job: PaperJob, results: Path) -> None:
    report(job, results)
    text = (results / "report.html").read_text(encoding="utf-8")
    assert '<td class="n"><strong>7.50</strong><small>7.10 to 7.90</small></td>' in text
    assert '<td class="n">9.00</td>' in text  # an interval without width says nothing
    assert "LPIPS\u00a0↓&nbsp;†</th>" in text and '<td class="n weak">' in text
    assert "† tells &lt;nothing&gt; apart." in text
    assert "Quality &amp; more" in text
    assert job.protocol.slug in text and "only numbers of one class may be compared" in text
    controls = re.findall(r'<tr class="controls"><th scope="row">([^<]*)</th>', text)
    assert controls == ["control:gt"] * 2  # one rule a table, before its first control


def test_published_numbers_on_the_page(job: PaperJob, results: Path) -> None:
    write_reported([PROJECT_ROOT / "config/reported/wonder3d.csv"], results / "reported.md")
    words = report(job, results, **NOTHING, reported=results / "reported.json").words
    assert "Numbers that papers report" in words and "26.07" in words and "gso30-wonder3d" in words


def test_files_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("a,b\n1\n")
    bad.with_suffix(".json").write_text(
        '{"blocks": [{"columns": [], "rows": [[{"text": "1"}]]}], "notes": []}'
    )
    with pytest.raises(UserError, match="unequal length"):
        read_table(bad)
    with pytest.raises(UserError, match="no index of figures"):
        read_figures(bad)
    bad.write_text("id\tstatus\nx\tok\n")
    with pytest.raises(UserError, match="lacks the columns"):
        read_render_set(bad, {})
    with pytest.raises(UserError, match="not a readable table"):
        read_table(tmp_path / "none")
    with pytest.raises(UserError, match="not a readable table"):
        read_render_set(tmp_path / "none", {})
    assert stage_seconds(tmp_path / "none") == []

"""All figures from a small synthetic run: real render sets, sample folders, models and records on disk."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aligncvc.config.paper_job import paper_job
from aligncvc.config.plan import Plan
from aligncvc.config.root import parse_config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.records import Record, concat, read_records, write_records
from aligncvc.evaluate.scores import Scores
from aligncvc.evaluate.stats import NONE, Interval
from aligncvc.files import write_json, write_text
from aligncvc.objects.listing import ObjectRow, write_list
from aligncvc.ownership import MARK, claim_folder
from aligncvc.paper.__main__ import main
from aligncvc.paper.agreement import APART, agreement, disagreement
from aligncvc.paper.curves import smooth
from aligncvc.paper.figures import draw_figures, write_figures
from aligncvc.paper.image_figures import image_grid, object_label
from aligncvc.paper.inputs import FigureInputs
from aligncvc.paper.pair_results import (
    PairResults,
    degrees,
    drawn_by_seed,
    held_out_view,
    object_credits,
    read_log,
    read_logs,
    read_pairs,
)  # fmt: skip
from aligncvc.paper.progress import progress, quarters
from aligncvc.paper.quality_cost import Dot, number_dots
from aligncvc.paper.reading import read_rankings
from aligncvc.paper.style import RC, Drawn, chart, enlarge, spread, styled
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians, save_ply
from aligncvc.scene.renderset import RenderSet
from aligncvc.scene.views import Views, save_views
from aligncvc.splat import rasterise
from aligncvc.streams import numpy_stream, torch_stream

SIZE, RIG, KEPT = 32, [0, 2, 4, 6], 2
OBJECTS = ("ball", "long-name-of-a-cone", "cup_1")
NAMES = [
    "teaser", "agreement", "comparison", "consistency_curves", "controls", "quality_vs_cost", "training",
]  # fmt: skip
CONTROL_LEVEL = {"gt": 30.0, "jitter": 24.0, "shuffled": 12.0, "copy": 26.0}


def cloud(name: str) -> tuple[Gaussians, Views]:
    """A coloured cloud, and its eight-view ring as straight-alpha RGBA."""
    g = torch_stream(0, "cloud", name)
    gaussians = Gaussians(
        means=torch.randn(80, 3, generator=g) * 0.3,
        scales=0.05 + 0.1 * torch.rand(80, 3, generator=g),
        quats=torch.nn.functional.normalize(torch.randn(80, 4, generator=g), dim=-1),
        opacities=0.5 + 0.5 * torch.rand(80, generator=g),
        colors=torch.rand(80, 3, generator=g),
    )
    cameras = orbit(ring_azimuths_deg(8), 10.0, distance=3.0, fov_y_deg=39.6, size_px=SIZE)
    black = rasterise(gaussians, cameras, background=0.0)
    rgb = (black.rgb / black.alpha.clamp_min(1e-4)).clamp(0, 1)
    return gaussians, Views(torch.cat([rgb, black.alpha.clamp(0, 1)], 1), cameras)


FIRST, SECOND = "wonder3d+lgm", "other"


class World:
    """Renders, the samples of two methods by each pair, their records and a training log below `root`."""

    methods = ("plain", "ours")

    def __init__(self, root: Path, pairs: tuple[str, ...] = (FIRST,)) -> None:
        self.root = root
        self.renders = root / "renders/eval/manifest.tsv"
        methods = {
            "plain": {"feedback": "two_stage", "steps": KEPT},
            "ours": {"steps": KEPT, "run": "both", "tables": ["table1", "table2"]},
        }
        networks = {"generator": "demo-wonder3d", "reconstructor": "demo-lgm"}
        self.config = {
            "pairs": dict.fromkeys(pairs, networks),
            "sample": {"methods": methods},
            "paper": {"showcase": 2},
            "evaluate": {"curves": list(self.methods)},
        }
        self.job = paper_job(Plan(parse_config(self.config, "test")))
        self.job.write(root / "paper.json")
        shapes = {name: cloud(name) for name in OBJECTS}
        rows = ["id\tstatus\tjob_hash"] + [f"{name}\tok\thash" for name in OBJECTS]
        for name, (_, views) in shapes.items():
            save_views(root / "renders/eval" / name, views, rigs={"rig": RIG}, object=name)
        self.renders.write_text("\n".join(rows) + "\n")
        self.samples, self.metrics = [], []
        made = [(p, m, level + 2 * i) for i, p in enumerate(pairs) for level, m in enumerate(self.methods, 1)]
        for pair, method, level in made:
            self._set(pair, method, level, shapes, self._records(method, level, pair))
        for name, value in CONTROL_LEVEL.items():
            self._set(
                "control", f"control:{name}", 9, shapes, self._control_records(f"control:{name}", value)
            )
        self.verdicts = root / "discrimination.csv"
        self.verdicts.write_text("metric,discriminates\nresidual_psnr,yes\nsplit_ssim,no\n")
        self.logs = [root / "align" / pair / "both/metrics.jsonl" for pair in pairs]
        lines = [
            {
                "step": i,
                "k": 1 + i % 4,
                "loss_soft": 2 - 0.05 * i,
                "loss_g": 0.5,
                "residual_psnr": 12 + 0.2 * i,
            }
            for i in range(20)
        ]
        for log in self.logs:
            log.parent.mkdir(parents=True)
            log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def _set(self, pair: str, method: str, level: int, shapes: dict, records: list[Record]) -> None:
        """One sample set with its records."""
        folder = f"{pair}/{method.removeprefix('control:')}"
        self.samples.append(self.root / "sample" / folder / "manifest.json")
        self.metrics.append(self.root / "metrics" / f"{folder}.csv")
        for name, (gaussians, views) in shapes.items():
            self._sample(self.samples[-1].parent / name / "seed0", gaussians, views, level)
        entries = [{"object": name, "seed": 0, "path": f"{name}/seed0"} for name in OBJECTS]
        facts = {"pair": pair, "method": method, "hardware": "a machine"}
        write_json(self.samples[-1], {**facts, "entries": entries, "failed": []})
        write_records(self.metrics[-1], records)

    def _sample(self, folder: Path, gaussians: Gaussians, views: Views, level: int) -> None:
        save_ply(folder / "model.ply", gaussians)
        clean = views.on_white()[RIG].permute(0, 2, 3, 1).numpy()
        noise = numpy_stream(0, folder.name, level).normal(size=(KEPT, *clean.shape)) * 0.2 / level
        renders = (np.repeat(clean[None], KEPT, 0) * 255).round().astype(np.uint8)
        noisy = ((clean + noise).clip(0, 1) * 255).round().astype(np.uint8)
        np.savez(folder / "steps.npz", views=noisy, renders=renders, timesteps=np.array([999, 499]))

    def _records(self, method: str, level: int, pair: str = FIRST) -> list[Record]:
        row = Record(method, pair, "eval", "", 0, -1, -1, "", math.nan, "p", 1.0, 100.0)
        records = []
        for i, name in enumerate(OBJECTS):
            records.append(dataclasses.replace(row, object=name, metric="psnr", value=20.0 + i))
            for step in range(1, KEPT + 1):
                value = 10.0 * level + step + i
                records.append(
                    dataclasses.replace(row, object=name, metric="residual_psnr", step=step, value=value)
                )
                records.append(
                    dataclasses.replace(row, object=name, metric="split_ssim", step=step, value=0.1 * step)
                )
            for metric, value in (("lpips", 0.3 - 0.01 * i), ("seconds", 2.0 * level), ("network_calls", 8)):
                records.append(dataclasses.replace(row, object=name, metric=metric, value=value))
        for end, value in (("", 1.0 * level), ("_lo", 0.5 * level), ("_hi", 1.5 * level)):
            metric = f"kernel_lite0_views{end}"
            records += [
                dataclasses.replace(row, object="*", metric=metric, step=step, value=value)
                for step in range(1, KEPT + 1)
            ]
        return records

    def _control_records(self, method: str, value: float) -> list[Record]:
        row = Record(method, "control", "eval", "", 0, -1, 1, "", math.nan, "p", 1.0, 100.0)
        return [
            dataclasses.replace(row, object=name, metric=metric, value=level)
            for i, name in enumerate(OBJECTS)
            for metric, level in (("residual_psnr", value + i + 0.1 * i * i), ("split_ssim", 0.5 + 0.01 * i))
        ]

    def arguments(self, out: Path) -> list[str]:
        """The command line of the workflow's rule."""
        lists = {"--metrics": self.metrics, "--samples": self.samples, "--align": self.logs}
        text = [word for key, paths in lists.items() for word in (key, *map(str, paths))]
        files = ("--renders", str(self.renders), "--discrimination", str(self.verdicts), "--out", str(out))
        return ["figures", "--settings", str(self.root / "paper.json"), *text, *files]

    def inputs(self, **changes: object) -> FigureInputs:
        files = {
            "metrics": self.metrics, "samples": self.samples, "renders": self.renders, "align": self.logs,
            "discrimination": self.verdicts,
        }  # fmt: skip
        return FigureInputs(**(files | changes))

    def write(self, out: Path, **changes: object) -> list[dict]:
        return write_figures(self.job, self.inputs(**changes), out)

    def pairs(self, records: list[Record] | None = None, **changes: object) -> list[PairResults]:
        """What the figures read, with all records or these."""
        scores = Scores(concat(self.metrics) if records is None else records, 0)
        return read_pairs(self.job, scores, self.inputs(**({"align": (), "discrimination": None} | changes)))


@pytest.fixture(scope="module", autouse=True)
def coarse() -> Iterator[None]:
    """Fewer pixels, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RC, "savefig.dpi", 90)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("paper"))


@pytest.fixture(scope="module")
def figures(world: World) -> Path:
    """The folder that the command of the workflow's rule wrote, where a run of other pairs had been."""
    out = world.root / "figures"
    claim_folder(out)
    write_text(out / "teaser_of_a_pair_that_is_gone.png", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["paper", *world.arguments(out)])
        cli(main)
    return out


def test_index_lists_every_figure_and_nothing_else_is_there(figures: Path) -> None:
    index = json.loads((figures / "index.json").read_text())
    assert [entry["name"] for entry in index] == NAMES
    assert all(set(entry) == {"name", "pair", "files", "caption", "alt"} for entry in index)
    listed = [file for entry in index for file in entry["files"]]
    assert sorted([*listed, "index.json", MARK]) == sorted(path.name for path in figures.iterdir())
    assert [Path(file).suffix for file in index[0]["files"]] == [".png", ".svg", ".pdf"]


def test_captions_state_what_the_data_say(figures: Path) -> None:
    captions = {e["name"]: e["caption"] for e in json.loads((figures / "index.json").read_text())}
    assert "(ours)" in captions["teaser"] and "45°, 135°, 225°, 315°" in captions["teaser"]
    assert "2 of 3 objects, drawn by the configuration's seed" in captions["teaser"]
    assert "135°" in captions["comparison"] and "upper bound" in captions["comparison"]
    first = int(re.search(r"plain (\d+)\.0 dB to", captions["agreement"])[1])  # 10 * 1 + step + object
    assert (
        f"plain {first}.0 dB to {first + 1}.0 dB; ours {first + 10}.0 dB to {first + 11}.0 dB"
        in (captions["agreement"])
    )
    assert "3 objects and 1 seed" in captions["consistency_curves"]
    assert "on this rig (Split-half SSIM)" in captions["consistency_curves"]
    assert (
        "both 95 % intervals excluding zero: Residual PSNR. Metrics that do not: Split-half SSIM"
        in (captions["controls"])
    )
    assert "two-stage: plain" in captions["quality_vs_cost"]
    assert "3D-aware, aligned (both): ours" in captions["quality_vs_cost"]
    assert "costs: medians over 3 objects" in captions["quality_vs_cost"]
    assert "paired difference from plain" in captions["quality_vs_cost"]
    assert "both: 12.10 to 15.70 dB" in captions["training"]  # means of the first and last two steps


def test_pictures_show_something(figures: Path) -> None:
    for name in NAMES:
        pixels = np.asarray(Image.open(figures / f"{name}.png").convert("RGB"), dtype=np.float64)
        assert pixels.shape[1] > 400
        assert (pixels < 250).any(-1).mean() > 0.01, name
        assert (figures / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert b"<svg" in (figures / f"{name}.svg").read_bytes()


def test_a_second_run_writes_the_same_bytes(world: World, figures: Path, tmp_path: Path) -> None:
    world.write(tmp_path / "again")
    for path in sorted(figures.glob("[!.]*")):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def drawn_from(pair: PairResults) -> dict[str, Drawn]:
    with styled():
        return {name: drawn for name, _, drawn in draw_figures([pair])}


def words(drawn: Drawn) -> list[str]:
    return [t.get_text() for axes in drawn.figure.axes for t in axes.texts]


def boxes(drawn: Drawn) -> int:
    return sum(len(axes.patches) for axes in drawn.figure.axes)


def test_figures_without_data_are_left_out(world: World) -> None:
    records = world._records("ours", 1)[:1]
    drawn = drawn_from(world.pairs(records)[0])
    assert list(drawn) == ["teaser", "agreement", "comparison"]
    assert "ours n/a to n/a" in drawn["agreement"].caption


def test_a_failed_sample_leaves_its_cells_empty(world: World) -> None:
    (whole,) = world.pairs([])
    kept = whole.showcase[1].id
    ours = dataclasses.replace(whole.samples["ours"], entries={(kept, 0): f"{kept}/seed0"})
    broken = dataclasses.replace(whole, samples={**whole.samples, "ours": ours})
    drawn = drawn_from(broken)
    # teaser: four poses of the first object and its steps; comparison: one model
    assert [words(drawn[name]).count("failed") for name in ("teaser", "agreement", "comparison")] == [
        4 + KEPT, 0, 1,
    ]  # fmt: skip
    assert whole.label(whole.showcase[1]) in drawn["agreement"].caption
    assert not any("failed" in words(d) for d in drawn_from(whole).values())


def test_disagreement_is_the_largest_region_and_nothing_where_images_agree() -> None:
    view, render = np.ones((64, 64, 3)), np.ones((64, 64, 3))
    assert disagreement(view, render) is None
    render[10:22, 20:40] = 0.0
    render[50:54, 50:54] = 0.0
    left, top, width, height = disagreement(view, render)
    # the window of three pixels moves the border by at most one
    assert np.allclose(64 * np.array([left, top, width, height]), [20, 10, 20, 12], atol=2.01)
    assert 64 * left <= 20 and 64 * top <= 10
    faint = np.ones((64, 64, 3))
    faint[10:30, 10:30] = 1 - 0.9 * APART
    assert disagreement(view, faint) is None
    speck = np.ones((64, 64, 3))
    speck[5:7, 5:7] = 0.0
    assert disagreement(view, speck) is None


def test_boxes_stand_in_both_rows_where_views_disagree(world: World) -> None:
    (pair,) = world.pairs([])
    posed = pair.showcase[0]
    clean = pair.steps("ours", posed)
    wrong = clean[0].copy()
    wrong[0, 1, 4:16, 4:16] = 1 - wrong[0, 1, 4:16, 4:16].round()
    pair.__dict__["steps"] = lambda name, posed: (wrong, clean[0]) if name == "ours" else clean[:1] * 2
    with styled():
        assert boxes(agreement(pair)) == 2


def test_objects_are_drawn_by_seed_not_taken_in_order(world: World) -> None:
    job = world.job
    ids = [f"object{i:02d}" for i in range(30)]
    first = drawn_by_seed(job, ids)
    assert len(first) == 2 and first == sorted(first) == drawn_by_seed(job, ids)
    other = [drawn_by_seed(job.model_copy(update={"seed": seed}), ids) for seed in range(1, 6)]
    assert any(found != first for found in other)


def test_controls_are_read_beside_the_methods(world: World) -> None:
    (pair,) = world.pairs([])
    assert set(pair.samples) == {"plain", "ours"}
    assert set(pair.controls) == {f"control:{name}" for name in CONTROL_LEVEL}
    with pytest.raises(UserError, match="samples of a method"):
        world.pairs([], samples=world.samples[2:])


def test_a_metric_that_does_not_discriminate_is_greyed_and_says_so(world: World) -> None:
    (pair,) = world.pairs(discrimination=world.verdicts)
    curves = drawn_from(pair)["consistency_curves"].figure.axes
    titles = [axes.get_title(loc="left") for axes in curves]
    # those that rank the controls first; a long heading takes two lines
    assert titles == ["Residual PSNR ↑", "Kernel distance (Lite0)\nviews ↓", "Split-half SSIM ↑"]
    grey = [any("does not discriminate" in t.get_text() for t in axes.texts) for axes in curves]
    assert grey == [False, False, True]
    dashed = [line.get_ydata()[0] for line in curves[0].lines if line.get_linestyle() == "--"]
    assert dashed == [pytest.approx(31.0 + 0.5 / 3)]  # mean of control:gt


def test_four_curves_stand_in_the_page_and_the_rest_in_an_appendix(world: World) -> None:
    extra = ("heldout_psnr", "heldout_lpips", "delta_psnr", "split_psnr")
    records = concat(world.metrics)
    more = [dataclasses.replace(r, metric=m) for r in records if r.metric == "residual_psnr" for m in extra]
    (pair,) = world.pairs(records + more, discrimination=world.verdicts)
    drawn = drawn_from(pair)

    def titles(name: str) -> list[str]:
        return [axes.get_title(loc="left") for axes in drawn[name].figure.axes]

    assert titles("consistency_curves") == [
        "Residual PSNR ↑", "Held-out PSNR ↑", "Held-out LPIPS ↓", "Delta PSNR",
    ]  # fmt: skip
    assert titles("consistency_appendix") == ["PSNR ↑", "SSIM ↑", "views / truth ↓"]
    assert "The 3 other metrics stand in the appendix" in drawn["consistency_curves"].caption
    assert "(Split-half SSIM)" in drawn["consistency_appendix"].caption
    assert "consistency_appendix" not in drawn_from(world.pairs()[0])


def test_numbers_of_steps_do_not_hide_each_other_nor_dots(world: World) -> None:
    """Two families whose dots stand close, as those of one cost do."""
    figure = chart(2.0)
    axes = figure.add_axes((0.1, 0.1, 0.4, 0.8))
    axes.set(xscale="log", xlim=(1, 100), ylim=(0, 1))
    close = [
        (c, [Dot(s, s, 0.5 + 0.03 * i, math.nan, math.nan) for s in (2, 4, 50)]) for i, c in enumerate("rgb")
    ]
    number_dots(axes, close, 0.5)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 9 and not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    dots = [axes.transData.transform((dot.x, dot.y)) for _, family in close for dot in family]
    assert not any(box.contains(*dot) for box in boxes for dot in dots)


def test_the_teaser_counts_what_it_shows(world: World) -> None:
    (pair,) = world.pairs([])
    assert "2 of 3 objects, drawn by the configuration's seed" in pair.shown_of(2)
    paper = world.job.paper.model_copy(update={"showcase": 3})
    every = dataclasses.replace(pair, job=world.job.model_copy(update={"paper": paper}))
    assert every.shown.startswith("All 3 objects of the set")
    assert every.shown_of(2).startswith("2 of 3 objects, the first and the last of the set")


def test_captions_name_the_makers_whose_licence_asks_for_it(world: World, tmp_path: Path) -> None:
    (pair,) = world.pairs([])
    assert "By " not in pair.shown_of(2) and pair.thanks == ""
    first, second = (posed.id for posed in pair.showcase)
    makers = [(first, "CC-BY-4.0", "Ada"), (second, "CC0-1.0", "Bob")]
    rows = [ObjectRow(name, name, "", "s", "", licence, maker, "eval") for name, licence, maker in makers]
    write_list(tmp_path / "list.tsv", rows)
    credits = object_credits(world.job.model_copy(update={"object_lists": [str(tmp_path / "list.tsv")]}))
    assert credits == {first: "Ada (CC-BY-4.0)"}
    named = dataclasses.replace(pair, credits={**credits, second: "Ada (CC-BY-4.0)"}, names={first: "Mug"})
    assert named.shown_of(2).endswith(f". By Ada (CC-BY-4.0): Mug, {second}.")
    figures = drawn_from(named)
    for drawn in (figures[name] for name in ("teaser", "agreement", "comparison")):
        assert drawn.caption.endswith(f"By Ada (CC-BY-4.0): Mug, {second}.")


def test_the_baseline_stands_beside_the_lead(world: World) -> None:
    drawn = drawn_from(world.pairs([])[0])["comparison"]
    assert "ours stands beside plain, its two-stage baseline" in drawn.caption


def test_verdicts_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "discrimination.csv"
    path.write_text("metric,other\na,b\n")
    with pytest.raises(UserError, match="discriminates"):
        read_rankings(path)


def test_samples_of_an_unknown_or_repeated_method_are_refused(world: World, tmp_path: Path) -> None:
    write_json(tmp_path / "x/manifest.json", {"pair": FIRST, "method": "stranger", "entries": []})
    with pytest.raises(UserError, match="stranger"):
        world.write(tmp_path / "out", samples=[tmp_path / "x/manifest.json"])
    with pytest.raises(UserError, match="both samples of 'ours'"):
        world.write(tmp_path / "out", samples=[world.samples[1], world.samples[1]])
    assert not (tmp_path / "out/index.json").exists()


def test_the_lead_is_the_method_with_both_losses_else_the_last(world: World) -> None:
    assert world.pairs([], samples=world.samples[::-1])[0].lead == "ours"
    assert world.pairs([], samples=world.samples[:1])[0].lead == "plain"


def test_drawn_model_matches_the_truth_it_was_made_from(world: World) -> None:
    (pair,) = world.pairs([])
    posed = pair.showcase[0]
    view = held_out_view(posed)
    drawn = pair.drawn("ours", posed, view)
    expected = posed.views[view].on_white()[0].permute(1, 2, 0).numpy()
    assert np.abs(drawn - expected).mean() < 0.01


def test_held_out_pose_is_no_rig_pose(world: World) -> None:
    posed = RenderSet(world.renders).load("ball")
    assert held_out_view(posed) == 3 and degrees(posed, 3) == "135°"


def test_training_log_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for text in ("", "{", "[1]\n", '{"k": 1}\n'):
        path.write_text(text)
        with pytest.raises(UserError, match="no training log"):
            read_log(path)


def test_training_log_columns_have_nan_where_a_step_lacks_a_number(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "loss_g": 1}\n{"step": 1}\n')
    log = read_log(path)
    assert log["step"].tolist() == [0, 1]
    assert log["loss_g"][0] == 1 and math.isnan(log["loss_g"][1])


def test_smoothing_averages_what_is_known() -> None:
    values = np.array([1.0, math.nan, 3.0, 8.0])
    np.testing.assert_allclose(smooth(values, 3), [1, 2, 5.5, 5.5])
    np.testing.assert_allclose(smooth(np.arange(4.0), 1), np.arange(4.0))


def test_labels_are_spread_apart_in_order() -> None:
    assert spread([0.0, 5.0], 1.0) == [0.0, 5.0]
    placed = spread([2.0, 1.9, 2.1, 9.0], 1.0)
    assert placed == pytest.approx([2.0, 1.0, 3.0, 9.0])


def test_small_images_are_enlarged_and_large_ones_kept() -> None:
    assert enlarge(np.ones((8, 8, 3)), 32).shape == (32, 32, 3)
    assert enlarge(np.ones((64, 64, 3)), 32).shape == (64, 64, 3)


# --- several pairs ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("two"), (FIRST, SECOND))


def test_each_pair_has_its_own_figures_and_controls_appear_once(two: World, tmp_path: Path) -> None:
    index = two.write(tmp_path)
    names = [name for n in NAMES for name in ([n] if n == "controls" else [f"{n}_{FIRST}", f"{n}_{SECOND}"])]
    assert [entry["name"] for entry in index] == names
    assert [entry["pair"] for entry in index if entry["name"] == "controls"] == [None]
    captions = {entry["name"]: entry["caption"] for entry in index}
    assert captions[f"teaser_{SECOND}"].startswith(f"{SECOND}: ") and "other" not in captions["controls"]
    # each pair's numbers are its own: levels are 1 and 2 for the first pair, 3 and 4 for the second
    residuals = [float(re.search(r"plain (\d+)\.", captions[f"agreement_{p}"])[1]) for p in (FIRST, SECOND)]
    assert residuals[1] - residuals[0] == 20


def test_training_logs_belong_to_pairs(two: World, tmp_path: Path) -> None:
    assert {pair: list(logs) for pair, logs in read_logs(two.logs, two.job).items()} == {
        FIRST: ["both"], SECOND: ["both"],
    }  # fmt: skip
    with pytest.raises(UserError, match="no folder of a pair"):
        read_logs([two.logs[0].parents[3] / "stranger/both/metrics.jsonl"], two.job)
    with pytest.raises(UserError, match="two training logs are of the run both"):
        read_logs(two.logs[:1] * 2, two.job)


def test_long_names_stay_in_their_row() -> None:
    label = object_label("Asus_80211ac_DualBand_Gigabit_Wireless_Router_RTAC68R")
    assert label.count("\n") == 2 and label.startswith("Asus_") and label.endswith("...")
    assert object_label("a_cup") == "a_cup"


def test_progress_stands_over_what_it_cost(two: World) -> None:
    """Each kept step of a method at its share of calls and seconds; methods of any pair, once each."""
    records = [record for path in two.metrics for record in read_records(path)]
    assert progress(two.pairs(records)) is None
    unseen = [r for r in records if r.metric == "residual_psnr" and r.pair != "control"]
    more = [dataclasses.replace(r, metric="residual_unseen_psnr", value=2 * r.value) for r in unseen]
    drawn = progress(two.pairs([*records, *more]))
    assert drawn is not None
    calls, seconds = drawn.figure.axes
    assert (calls.get_xlabel(), seconds.get_xlabel()) == ("network calls", "seconds an object")
    lines = {axes: [line for line in axes.lines if line.get_marker() != "None"] for axes in (calls, seconds)}
    assert [list(line.get_xdata()) for line in lines[calls]] == [[4, 8], [4, 8]]
    assert [list(line.get_xdata()) for line in lines[seconds]] == [[1, 2], [2, 4]]
    means = [[2 * (10 * level + step + 1) for step in (1, 2)] for level in (1, 2)]
    for axes in lines.values():
        np.testing.assert_allclose([line.get_ydata() for line in axes], means)
    assert "plain, ours" in drawn.alt


def test_of_many_kept_steps_four_measured_ones_are_drawn() -> None:
    done = [(i + 1) / 25 for i in range(25)]
    gaps = [Interval(float(i), 0, 0) if i in (5, 11, 18, 24) else NONE for i in range(25)]
    assert quarters(done, gaps) == {done[i]: gaps[i] for i in (5, 11, 18, 24)}
    whole = [Interval(float(i), 0, 0) for i in range(25)]
    assert list(quarters(done, whole)) == [done[i] for i in (5, 11, 18, 24)]
    assert list(quarters(done[:2], whole[:2])) == done[:2] and quarters(done, [NONE] * 25) == {}


def test_a_long_name_pushes_the_words_behind_it(world: World) -> None:
    """What stands in one line of the figure does not overlap, however long a method's name is."""
    (pair,) = world.pairs()
    long = "gen3diffusion_25_tuned"
    rows = [row.model_copy(update={"method": long}) if row.method == "ours" else row for row in pair.job.rows]
    samples = {long if name == "ours" else name: each for name, each in pair.samples.items()}
    job = pair.job.model_copy(update={"rows": rows})
    drawn = agreement(dataclasses.replace(pair, job=job, samples=samples))
    assert drawn is not None
    name, kind = (
        next(text for text in drawn.figure.texts if words in text.get_text())
        for words in (long, "3D-aware sampling")
    )
    assert name.get_position()[1] == kind.get_position()[1]
    assert kind.get_window_extent().x0 > name.get_window_extent().x1


def test_titles_stay_over_their_column() -> None:
    titles = ["two_stage_50", "gen3diffusion_25_tuned", "aligncvc_4_seed1", "a", "ours", "upper bound"]
    image = np.zeros((8, 8, 3))
    figure = image_grid([("final models at 135 degrees", titles[:1]), ("", titles[1:])], [("o", [image] * 6)])
    named = {text.get_text(): text.get_window_extent() for text in figure.texts}
    row = sorted((named[title] for title in titles), key=lambda box: box.x0)
    assert all(one.x1 < other.x0 for one, other in pairwise(row))
    assert named["final models at 135 degrees"].x1 < row[1].x0

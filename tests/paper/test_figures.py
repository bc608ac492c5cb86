"""All figures from a small synthetic run: real render sets, sample folders, models and records on disk."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from aligncvc.cameras import orbit, ring_azimuths_deg
from aligncvc.config import load_config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.records import Record, write_records
from aligncvc.files import write_json
from aligncvc.gaussians import Gaussians, save_ply
from aligncvc.paper.__main__ import main
from aligncvc.paper.data import (
    Material,
    azimuth_deg,
    bootstrap,
    by_object,
    held_out_view,
    load_material,
    read_training,
    smooth,
)
from aligncvc.paper.figures import draw_figures, write_figures
from aligncvc.paper.panels import Drawn, mosaic
from aligncvc.paper.style import RC, enlarge, spread, styled
from aligncvc.renderset import RenderSet
from aligncvc.splat import rasterise
from aligncvc.streams import numpy_stream, torch_stream
from aligncvc.views import Views, save_views

SIZE, RIG, KEPT = 32, [0, 2, 4, 6], 2
OBJECTS = ("ball", "long-name-of-a-cone", "cup_1")
NAMES = ["teaser", "cvc_strip", "cvc_curve", "qualitative", "training"]


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


class World:
    """Renders, two methods' samples, their records and one training log below `root`."""

    methods = ("plain", "ours")

    def __init__(self, root: Path) -> None:
        self.root = root
        self.renders = root / "renders/eval/manifest.tsv"
        self.config = root / "config.yaml"
        methods = {
            "plain": {"sampler": "two_stage", "steps": KEPT},
            "ours": {"steps": KEPT, "run": "both", "table": ["table1", "table2"]},
        }
        self.config.write_text(
            yaml.safe_dump(
                {
                    "pair": "test",
                    "sample": {"methods": methods},
                    "paper": {"showcase": 2},
                    "render": {"size_px": SIZE},
                }
            )
        )
        shapes = {name: cloud(name) for name in OBJECTS}
        rows = ["id\tstatus\tjob_hash"] + [f"{name}\tok\thash" for name in OBJECTS]
        for name, (_, views) in shapes.items():
            save_views(root / "renders/eval" / name, views, rigs={"rig": RIG}, object=name)
        self.renders.write_text("\n".join(rows) + "\n")
        self.samples, self.metrics = [], []
        for level, method in enumerate(self.methods, start=1):
            self.samples.append(root / "sample" / method / "manifest.json")
            self.metrics.append(root / "metrics" / f"{method}.csv")
            for name, (gaussians, views) in shapes.items():
                self._sample(self.samples[-1].parent / name / "seed0", gaussians, views, level)
            entries = [{"object": name, "seed": 0, "path": f"{name}/seed0"} for name in OBJECTS]
            write_json(self.samples[-1], {"method": method, "entries": entries, "failed": []})
            write_records(self.metrics[-1], self._records(method, level))
        self.log = root / "align/both/metrics.jsonl"
        self.log.parent.mkdir(parents=True)
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
        self.log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def _sample(self, folder: Path, gaussians: Gaussians, views: Views, level: int) -> None:
        save_ply(folder / "model.ply", gaussians)
        clean = views.on_white()[RIG].permute(0, 2, 3, 1).numpy()
        noise = numpy_stream(0, folder.name, level).normal(size=(KEPT, *clean.shape)) * 0.2 / level
        renders = (np.repeat(clean[None], KEPT, 0) * 255).round().astype(np.uint8)
        noisy = ((clean + noise).clip(0, 1) * 255).round().astype(np.uint8)
        np.savez(folder / "steps.npz", views=noisy, renders=renders, timesteps=np.array([999, 499]))

    def _records(self, method: str, level: int) -> list[Record]:
        row = Record(method, "test", "eval", "", 0, -1, -1, "", math.nan, "p", 1.0, 100.0)
        records = []
        for i, name in enumerate(OBJECTS):
            records.append(dataclasses.replace(row, object=name, metric="psnr", value=20.0 + i))
            for step in range(1, KEPT + 1):
                value = 10.0 * level + step + i
                records.append(
                    dataclasses.replace(row, object=name, metric="residual_psnr", step=step, value=value)
                )
        return records

    def arguments(self, out: Path) -> list[str]:
        """The command line of the workflow's rule."""
        lists = {"--metrics": self.metrics, "--samples": self.samples, "--align": [self.log]}
        text = [word for key, paths in lists.items() for word in (key, *map(str, paths))]
        return [
            "figures",
            "--config",
            str(self.config),
            *text,
            "--renders",
            str(self.renders),
            "--out",
            str(out),
        ]

    def write(self, out: Path, **changes: object) -> list[dict]:
        inputs = {
            "metrics": self.metrics, "samples": self.samples, "renders": self.renders, "align": [self.log],
        } | changes  # fmt: skip
        return write_figures(load_config(self.config), **inputs, out=out)


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
    """The folder that the command of the workflow's rule wrote."""
    out = world.root / "figures"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["paper", *world.arguments(out)])
        cli(main)
    return out


def test_index_lists_every_figure_and_nothing_else_is_there(figures: Path) -> None:
    index = json.loads((figures / "index.json").read_text())
    assert [entry["name"] for entry in index] == NAMES
    assert all(set(entry) == {"name", "files", "caption", "alt"} for entry in index)
    listed = [file for entry in index for file in entry["files"]]
    assert sorted([*listed, "index.json"]) == sorted(path.name for path in figures.iterdir())
    assert [Path(file).suffix for file in index[0]["files"]] == [".png", ".svg", ".pdf"]


def test_captions_state_what_the_data_say(figures: Path) -> None:
    captions = {e["name"]: e["caption"] for e in json.loads((figures / "index.json").read_text())}
    assert "ours" in captions["teaser"]
    assert "first 2 of 3 objects" in captions["teaser"]
    assert "135°" in captions["qualitative"] and "all 2 methods" in captions["qualitative"]
    assert "21.0 dB, 22.0 dB" in captions["cvc_strip"]  # ball, ours: 10 * 2 + step
    assert "plain 13.00 [" in captions["cvc_curve"] and "ours 23.00 [" in captions["cvc_curve"]
    assert "3 objects and 1 seed" in captions["cvc_curve"]
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
    for path in sorted(figures.iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def drawn_from(material: Material) -> dict[str, Drawn]:
    with styled():
        return dict(draw_figures(material, {}))


def test_figures_without_data_are_left_out(world: World) -> None:
    records = world._records("ours", 1)[:1]
    drawn = drawn_from(load_material(load_config(world.config), records, world.samples, world.renders))
    assert list(drawn) == ["teaser", "cvc_strip", "qualitative"]
    assert "n/a, n/a" in drawn["cvc_strip"].caption


def test_a_failed_sample_leaves_its_cells_empty(world: World) -> None:
    whole = load_material(load_config(world.config), [], world.samples, world.renders)
    entries = {(OBJECTS[1], 0): f"{OBJECTS[1]}/seed0"}
    ours = dataclasses.replace(whole.samples["ours"], entries=entries)
    broken = dataclasses.replace(whole, samples={**whole.samples, "ours": ours})
    words = [[t.get_text() for a in d.figure.axes for t in a.texts] for d in drawn_from(broken).values()]
    # teaser: two steps and the novel view; qualitative: one method's model
    assert [line.count("failed") for line in words] == [3, 0, 1]
    assert "first object with a sample" in drawn_from(broken)["cvc_strip"].caption
    assert all(not a.texts for d in drawn_from(whole).values() for a in d.figure.axes)


def test_samples_of_an_unknown_or_repeated_method_are_refused(world: World, tmp_path: Path) -> None:
    write_json(tmp_path / "x/manifest.json", {"method": "stranger", "entries": []})
    with pytest.raises(UserError, match="stranger"):
        world.write(tmp_path / "out", samples=[tmp_path / "x/manifest.json"])
    with pytest.raises(UserError, match="both samples of 'ours'"):
        world.write(tmp_path / "out", samples=[world.samples[1], world.samples[1]])
    assert not (tmp_path / "out/index.json").exists()


def test_the_lead_is_the_method_with_both_losses_else_the_last(world: World) -> None:
    config = load_config(world.config)
    assert load_material(config, [], world.samples[::-1], world.renders).lead == "ours"
    assert load_material(config, [], world.samples[:1], world.renders).lead == "plain"


def test_drawn_model_matches_the_truth_it_was_made_from(world: World) -> None:
    material = load_material(load_config(world.config), [], world.samples, world.renders)
    posed = material.showcase[0]
    view = held_out_view(posed)
    drawn = material.drawn("ours", posed, view)
    expected = posed.views[view].on_white()[0].permute(1, 2, 0).numpy()
    assert np.abs(drawn - expected).mean() < 0.01


def test_held_out_pose_is_no_rig_pose(world: World) -> None:
    posed = RenderSet(world.renders).load("ball")
    assert held_out_view(posed) == 3 and azimuth_deg(posed, 3) == 135.0


def test_training_log_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for text in ("", "{", "[1]\n", '{"k": 1}\n'):
        path.write_text(text)
        with pytest.raises(UserError, match="no training log"):
            read_training(path)


def test_training_log_columns_have_nan_where_a_step_lacks_a_number(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "loss_g": 1}\n{"step": 1}\n')
    log = read_training(path)
    assert log["step"].tolist() == [0, 1]
    assert log["loss_g"][0] == 1 and math.isnan(log["loss_g"][1])


def test_smoothing_averages_what_is_known() -> None:
    values = np.array([1.0, math.nan, 3.0, 8.0])
    np.testing.assert_allclose(smooth(values, 3), [1, 2, 5.5, 5.5])
    np.testing.assert_allclose(smooth(np.arange(4.0), 1), np.arange(4.0))


def test_bootstrap_is_seeded_and_contains_the_mean() -> None:
    values = [10.0, 12.3, 14.1, 20.9, 11.7, 15.5]
    first = bootstrap(values, 0, "x")
    assert first is not None and first == bootstrap(values, 0, "x")
    assert 10 <= first[0] < np.mean(values) < first[1] <= 20.9
    assert first != bootstrap(values, 1, "x")
    assert bootstrap([10.0], 0, "x") is None


def test_by_object_averages_seeds_and_skips_views_and_nan() -> None:
    row = Record("m", "p", "eval", "a", 0, -1, -1, "psnr", 10.0, "h", 1.0, 1.0)
    rows = [
        row, dataclasses.replace(row, seed=1, value=20.0), dataclasses.replace(row, view=3, value=99.0),
        dataclasses.replace(row, object="b", value=math.nan), dataclasses.replace(row, step=2, value=99.0),
    ]  # fmt: skip
    assert by_object(rows, "psnr") == {"a": 15.0}


def test_labels_are_spread_apart_in_order() -> None:
    assert spread([0.0, 5.0], 1.0) == [0.0, 5.0]
    placed = spread([2.0, 1.9, 2.1, 9.0], 1.0)
    assert placed == pytest.approx([2.0, 1.0, 3.0, 9.0])


def test_small_images_are_enlarged_and_large_ones_kept() -> None:
    assert enlarge(np.ones((8, 8, 3)), 32).shape == (32, 32, 3)
    assert enlarge(np.ones((64, 64, 3)), 32).shape == (64, 64, 3)


def test_mosaic_places_views_by_row_and_fills_with_white() -> None:
    views = np.stack([np.full((2, 2, 3), value) for value in (0.1, 0.2, 0.3)])
    sheet = mosaic(views)
    assert sheet.shape == (4, 4, 3)
    np.testing.assert_allclose(sheet[::2, ::2, 0], [[0.1, 0.2], [0.3, 1.0]], atol=1e-6)

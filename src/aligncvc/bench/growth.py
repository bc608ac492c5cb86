"""How the stages' cost and memory grow with the number of objects: the commands themselves, each a process.

Boxes are rendered, sampled, scored and shown by the smallest configuration (config/smoke.yaml).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import trimesh
import yaml
from scipy.optimize import nnls

from aligncvc.bench.commands import Cost, command_cost
from aligncvc.bench.measure import Row, row
from aligncvc.bench.synthetic import cameras_at, views_of
from aligncvc.evaluate.trial import MeshModel
from aligncvc.files import PROJECT_ROOT, parse_yaml, read_text, sha256_file, write_text
from aligncvc.meshes import load_mesh, save_glb
from aligncvc.objects.listing import ManifestRow, write_manifest
from aligncvc.scene.cameras import ring_azimuths_deg
from aligncvc.scene.views import save_views
from aligncvc.streams import numpy_stream

COUNTS = (1, 4, 16, 64)
EXPONENT, MEMORY = 1.05, 1.1
"""At most: the power of the number of objects that the cost beyond the start grows with, and how many times
the memory of the fewest objects the most objects take."""
RING, SIZE_PX = 8, 32
RENDERED = {"threads": "1", "set": "render.size_px=64"}
"""Larger than what the other stages are given: of smaller ones the start hides the cost."""
PAIR, METHOD = "wonder3d+lgm", "aware_2"

Stage = Literal["render", "sample", "evaluate", "table", "figures"]
STAGES: tuple[Stage, ...] = get_args(Stage)


def commands(folder: Path) -> dict[Stage, list[str | Path]]:
    """Each stage's command over the world in `folder`, in the order in which they feed each other."""
    renders, objects = folder / "renders/manifest.tsv", folder / "objects/manifest.tsv"
    sample, records = folder / "sample", folder / "records.csv"
    options: dict[Stage, tuple[str, dict[str, str | Path]]] = {
        "render": ("render", {"objects": objects, "out": folder / "drawn", **RENDERED}),
        "sample": ("sample", {"pair": PAIR, "method": METHOD, "renders": renders, "out": sample}),
        "evaluate": (
            "evaluate",
            {"sample": sample, "renders": renders, "objects": objects, "out": records},
        ),
        "table": ("paper table", {"table": "table1", "metrics": records, "out": folder / "table1.csv"}),
        "figures": (
            "paper figures",
            {
                "metrics": records,
                "samples": sample / "manifest.json",
                "renders": renders,
                "out": folder / "figures",
            },
        ),
    }
    return {
        stage: [
            "-m", *f"aligncvc.{command}".split(), "--config", folder / "config.yaml",
            *(word for name, value in given.items() for word in (f"--{name}", value)),
        ]
        for stage, (command, given) in options.items()
    }  # fmt: skip


def bench_growth(
    clock: Literal["wall", "cpu"] = "wall", counts: Sequence[int] = COUNTS, stages: Sequence[Stage] = STAGES
) -> list[Row]:
    """Cost and memory of each stage by the number of objects, and what both grow with."""
    costs: dict[Stage, dict[int, Cost]] = {}
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="aligncvc-growth-") as name:
            write_world(Path(name), count)
            words = commands(Path(name))
            for stage in stages:
                cost = command_cost(words[stage], f"{stage} of {count} objects")
                costs.setdefault(stage, {})[count] = cost
    return [line for stage, found in costs.items() for line in stage_rows(stage, found, clock)]


def stage_rows(stage: str, costs: Mapping[int, Cost], clock: str = "wall") -> list[Row]:
    """Rows of one stage; what it grows with only from four numbers of objects on."""
    rows: list[Row] = []
    for count, cost in costs.items():
        rows.append(row(f"growth_{stage}_{count}", cost.by(clock), "s"))
        rows.append(row(f"growth_{stage}_{count}_memory", cost.peak_mb, "MB"))
    if len(costs) < len(COUNTS):
        return rows
    start, each, exponent = fitted(list(costs), [cost.by(clock) for cost in costs.values()])
    first, last = costs[min(costs)], costs[max(costs)]
    return [
        *rows,
        row(
            f"growth_{stage}_exponent", exponent, "power of objects", EXPONENT,
            f"{start:.3g} s + {each:.3g} s n^{exponent:.3g}",
        ),
        row(
            f"growth_{stage}_memory", last.peak_mb / first.peak_mb, "times", MEMORY,
            f"{max(costs)} objects to {min(costs)}",
        ),
    ]  # fmt: skip


def fitted(counts: Sequence[int], seconds: Sequence[float]) -> tuple[float, float, float]:
    """(a, b, c) of a + b n^c, which miss the seconds least in proportion; a and b are not negative.

    The start is part of the fit, since up to some number of objects it is most of the cost: an exponent of
    the cost as a whole would be near 0 and say nothing.
    """
    n, cost = np.asarray(counts, float), np.asarray(seconds, float)

    def miss(exponent: float) -> tuple[float, np.ndarray]:
        terms = np.stack([np.ones_like(n), n**exponent], 1) / cost[:, None]
        solution, residual = nnls(terms, np.ones_like(n))
        return float(residual), solution

    exponent = min(np.arange(0.3, 2.5, 0.001), key=lambda c: miss(c)[0])
    start, each = miss(exponent)[1]
    return float(start), float(each), float(exponent)


def write_world(folder: Path, count: int) -> None:
    """`count` coloured boxes in `objects`, a ring of each in `renders`, configuration and protocol."""
    rows, lines = [], ["id\tstatus\tjob_hash"]
    config, protocol = (
        parse_yaml(read_text(PROJECT_ROOT / f"config/{n}.yaml")) for n in ("smoke", "protocols/smoke")
    )
    config["render"] |= {"size_px": SIZE_PX, "samples": 4}
    config["evaluate"]["protocol"] = str(folder / "protocol.yaml")
    protocol["render"]["size_px"] = SIZE_PX
    for name, settings in (("config", config), ("protocol", protocol)):
        write_text(folder / f"{name}.yaml", yaml.safe_dump(settings))
    cameras = cameras_at(ring_azimuths_deg(RING), SIZE_PX)
    for number in range(count):
        name, random = f"box{number:04d}", numpy_stream(0, "growth", number)
        mesh = trimesh.creation.box(extents=0.5 + 0.5 * random.random(3))
        mesh.visual.vertex_colors = random.integers(40, 220, (len(mesh.vertices), 3))
        path = folder / f"objects/{name}.glb"
        path.parent.mkdir(exist_ok=True)
        save_glb(path, mesh)
        rows.append(
            ManifestRow(name, path.name, sha256_file(path), "CC0-1.0", "nobody", "", "eval", "ok", "")
        )
        views = views_of(MeshModel(load_mesh(path)).draw(cameras, 0.0), cameras)
        rigs = {"rig": list(range(0, RING, RING // 4)), "ring": list(range(RING))}
        placed = {"scale": 1.0, "offset": [0.0, 0.0, 0.0]}
        save_views(folder / "renders" / name, views, object=name, rigs=rigs, normalisation=placed)
        lines.append(f"{name}\tok\t0")
    write_manifest(folder / "objects/manifest.tsv", rows)
    write_text(folder / "renders/manifest.tsv", "\n".join(lines) + "\n")

"""From one method's samples to records: read, render, compare; count what failed."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aligncvc.cameras import relative_c2w
from aligncvc.config import Config
from aligncvc.encoders import load_lpips
from aligncvc.errors import UserError
from aligncvc.evaluate.consistency import matched_pose_residual
from aligncvc.evaluate.image import Metric, foreground_psnr, lpips_metric, not_available, psnr, ssim
from aligncvc.evaluate.protocol import build_protocol, dataset_name, protocol_hash
from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW, Record
from aligncvc.gaussians import load_ply
from aligncvc.renderset import PosedObject, RenderSet
from aligncvc.splat import rasterise
from aligncvc.views import composite

COST_METRICS = ("network_calls", "seconds", "peak_mb")


@dataclass(frozen=True)
class Evaluation:
    """All records of one method, the protocol they were measured by, and why entries failed."""

    records: list[Record]
    protocol: dict[str, Any]
    failures: dict[str, str]


def evaluate_method(config: Config, sample: Path, manifest: Path) -> Evaluation:
    """Score every object of the render set times every seed of the configuration.

    sample: folder that `python -m aligncvc.sample` wrote. manifest: of the renders. An entry that is
    missing or unreadable gets the record `failed` = 1 and nothing else; the others get `failed` = 0.
    Raises UserError if the folder is no sample set of these renders, or if nothing could be scored.
    """
    method, entries, known_failures = read_sample_manifest(sample)
    renders = RenderSet(manifest)
    expected = [(name, seed) for name in renders.ids for seed in config.sample.seeds]
    strangers = [f"{name} (seed {seed})" for name, seed in entries if (name, seed) not in set(expected)]
    if strangers:
        raise UserError(
            f"{sample} holds samples that {manifest} and sample.seeds do not ask for, such as "
            f"{strangers[0]}; sample the method again with this configuration"
        )
    objects, unreadable = _load_objects(renders)
    protocol = build_protocol(config, dataset_name(manifest), objects, renders.ids)
    row = Record(
        method,
        config.pair,
        protocol["dataset"],
        "",
        0,
        MEAN_VIEW,
        FINAL_STEP,
        "",
        math.nan,
        protocol_hash(protocol),
        math.nan,
        math.nan,
    )
    metrics = image_metrics(config, protocol)
    records: list[Record] = []
    failures: dict[str, str] = {}
    for name, seed in expected:
        here = replace(row, object=name, seed=seed)
        posed = objects[name]
        try:
            if posed is None:
                raise UserError(unreadable[name])
            if (name, seed) not in entries:
                raise UserError(known_failures.get(name, f"{sample} has no entry for it"))
            found = score_entry(sample / entries[name, seed], posed, config, metrics, here)
            records += [*found, replace(found[0], metric="failed", value=0.0)]
        except UserError as error:
            failures[f"{name}/seed{seed}"] = str(error)
            records.append(replace(here, metric="failed", value=1.0))
    if len(failures) == len(expected):
        raise UserError(
            f"nothing in {sample} could be scored; the first reason: {next(iter(failures.values()))}"
        )
    return Evaluation(records, protocol, failures)


def image_metrics(config: Config, protocol: Mapping[str, Any]) -> dict[str, Metric]:
    """The metrics by name. One that the protocol calls n/a gives NaN for every image."""
    if isinstance(protocol["metrics"]["lpips"], str):
        return {"psnr": psnr, "ssim": ssim, "lpips": not_available}
    model = load_lpips(config.evaluate.lpips, ledger=config.checkpoints.ledger)
    return {"psnr": psnr, "ssim": ssim, "lpips": lpips_metric(model)}


def score_entry(
    folder: Path, posed: PosedObject, config: Config, metrics: Mapping[str, Metric], row: Record
) -> list[Record]:
    """All records of one sample folder, its cost first; `row` gives method, object, seed and protocol.

    Raises UserError if a file is missing, broken or does not fit the object's views.
    """
    facts = read_sample_facts(folder / "sample.json")
    views, renders = read_steps(folder / "steps.npz", posed)
    row = replace(row, seconds=facts["seconds"], peak_mb=facts["peak_mb"])
    scored = [i for i in range(len(posed.views)) if config.evaluate.views == "ring" or i not in posed.rig]
    truth = composite(posed.views.rgba, config.evaluate.background)
    drawn = render_model(folder / "model.ply", posed, scored, config.evaluate.background)
    records = [replace(row, metric=name, value=facts[name]) for name in COST_METRICS]
    results = {name: metric(drawn, truth[scored]) for name, metric in metrics.items()}
    results["fg_psnr"] = foreground_psnr(drawn, truth[scored], posed.views.alpha[scored])
    for name, values in results.items():
        records += per_view(replace(row, metric=name), values, scored)
    rig_truth = posed.views.on_white()[posed.rig]  # generators are taught on white, whatever is scored above
    records += per_view(replace(row, metric="views_psnr"), psnr(views[-1], rig_truth), posed.rig)
    for name, curve in matched_pose_residual(views, renders, metrics).items():
        for step, values in enumerate(curve, start=1):
            records += per_view(replace(row, metric=name, step=step), values, posed.rig)
    return records


def per_view(row: Record, values: Tensor, views: list[int]) -> Iterator[Record]:
    """One record a view and one for their mean; views without a value (NaN) are left out of the mean."""
    for view, value in zip(views, values.tolist(), strict=True):
        yield replace(row, view=view, value=value)
    yield replace(row, view=MEAN_VIEW, value=float(values.nanmean()))


@torch.no_grad()
def render_model(path: Path, posed: PosedObject, views: list[int], background: float) -> Tensor:
    """model.ply at the given ring views, (V, 3, H, W) in [0, 1].

    The model lives in the input view's frame (input view at azimuth 0), so the ring is turned into it.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; sample the object again")
    cameras = posed.views.cameras
    turned = replace(cameras, c2w=relative_c2w(cameras.c2w, cameras.c2w[posed.rig[0]]))
    try:
        gaussians = load_ply(path)
        return rasterise(gaussians, turned[views], background=background).rgb.clamp(0, 1)
    except (ValueError, IndexError, StopIteration) as error:
        raise UserError(f"{path} cannot be drawn ({error}); sample the object again") from error


def read_steps(path: Path, posed: PosedObject) -> tuple[Tensor, Tensor]:
    """Generated views and renderings of the kept steps, each (K, V, 3, H, W) in [0, 1]."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            views, renders = arrays["views"], arrays["renders"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable steps.npz ({error}); sample the object again") from error
    wanted = (len(posed.rig), *posed.views.rgba.shape[-2:], 3)
    for name, array in (("views", views), ("renders", renders)):
        if array.dtype != np.uint8 or array.ndim != 5 or array.shape[1:] != wanted or not len(array):
            raise UserError(
                f"{path} holds {name} {array.dtype}{array.shape}, expected uint8 (K, "
                f"{', '.join(map(str, wanted))}); sample with the configuration of the renders"
            )
    images = [torch.from_numpy(a).permute(0, 1, 4, 2, 3).float() / 255 for a in (views, renders)]
    return images[0], images[1]


def read_sample_facts(path: Path) -> dict[str, float]:
    """The cost of a sample: network_calls, seconds, peak_mb."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return {name: float(facts[name]) for name in COST_METRICS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a readable sample.json ({error!r}); sample the object again"
        ) from error


def read_sample_manifest(sample: Path) -> tuple[str, dict[tuple[str, int], str], dict[str, str]]:
    """Method, folder of each (object, seed), and the reasons of objects that sampling gave up."""
    path = sample / "manifest.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        entries = {(str(e["object"]), int(e["seed"])): str(e["path"]) for e in data["entries"]}
        failed = {str(e["object"]): str(e["reason"]) for e in data.get("failed", [])}
        return str(data["method"]), entries, failed
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a readable sample manifest ({error!r}); run python -m aligncvc.sample first"
        ) from error


def _load_objects(renders: RenderSet) -> tuple[dict[str, PosedObject | None], dict[str, str]]:
    objects: dict[str, PosedObject | None] = {}
    reasons: dict[str, str] = {}
    for name in renders.ids:
        try:
            objects[name] = renders.load(name)
        except UserError as error:
            objects[name], reasons[name] = None, str(error)
    return objects, reasons

"""What the verdict needs and the records lack: renderings judged like views, and sharpness.

Claim (a) compares the consistency of generated views with that of renderings, so renderings go through the
same instrument: the judge reconstructs two halves of them (`evaluate.consistency`). Sharpness tells
agreement from blur, which raises every consistency score in PSNR (docs/metrics.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from aligncvc.config import Config
from aligncvc.errors import UserError
from aligncvc.evaluate.consistency import ConsistencyTools, judged
from aligncvc.evaluate.image import not_available, psnr, ssim
from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW, Record, read_records, write_records
from aligncvc.evaluate.samples import in_input_frame, read_steps
from aligncvc.evaluate.subject import Subject
from aligncvc.files import sha256_file, sha256_json, write_json
from aligncvc.ownership import remove
from aligncvc.paper.data import SampleSet
from aligncvc.paper.verdict_rules import RENDERINGS
from aligncvc.recon.judge import load_judge
from aligncvc.renderset import PosedObject, RenderSet
from aligncvc.views import at_common_size

KEPT = ("heldout_psnr", "heldout_ssim", "split_psnr", "split_ssim")
"""Metrics of judged renderings that are kept, means over views."""

VERSION = 1
"""Of the numbers below: another one makes them anew."""


def sharpness(images: Tensor, truth: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels' brightness, as a share of ground truth's.

    images, truth: (V, 3, H, W) in [0, 1] at the same poses. 1: as much detail as the truth; NaN where the
    truth is flat. Noise counts as detail: read it beside PSNR.
    """
    return _roughness(images) / level if (level := _roughness(truth)) > 0 else math.nan


def _roughness(images: Tensor) -> float:
    grey = images.double().mean(1)
    across, down = grey.diff(dim=-1).abs().mean(), grey.diff(dim=-2).abs().mean()
    return float(across + down) / 2


def measure(
    config: Config, samples: Mapping[str, SampleSet], renders: RenderSet, consistent: Sequence[str]
) -> Iterator[Record]:
    """`sharpness` and `views_sharpness` of every method's last step at the rig; for the methods named
    `consistent`, KEPT of their last renderings under `RENDERINGS` + method.

    Samples that failed or cannot be read are left out, as in the records of the evaluation.
    """
    judge, protocol = load_judge(config), config.protocol
    metrics = {"psnr": psnr, "ssim": ssim, "lpips": not_available}
    tools = ConsistencyTools(metrics, judge, protocol.metrics.consistency.halves, "last")
    for method, found in samples.items():
        for name, seed in sorted(found.entries):
            try:
                posed = renders.load(name)
                views, drawn = read_steps(found.folder / found.entries[name, seed] / "steps.npz", posed)
            except UserError:
                continue
            row = _row(config, method, name, seed)
            truth = posed.views[posed.rig].on_white()
            views, drawn, truth = at_common_size(views[-1:], drawn[-1:], truth)  # judged alike
            yield row("sharpness", sharpness(drawn[-1], truth))
            yield row("views_sharpness", sharpness(views[-1], truth))
            if method in consistent:
                row = _row(config, RENDERINGS + method, name, seed)
                subject = as_subject(posed, drawn, name, seed)
                with torch.no_grad():
                    values = [v for v in judged(subject, tools) if v.metric in KEPT and v.view == MEAN_VIEW]
                yield from (row(value.metric, value.value) for value in values)


def as_subject(posed: PosedObject, images: Tensor, name: str, seed: int) -> Subject:
    """Images (1, V, 3, H, W) at the rig as if a generator had drawn them."""
    return Subject(
        object=name, seed=seed, truth=in_input_frame(posed), rig=posed.rig, scored=[], background=1.0,
        views=images, renders=None, model=None, surface=None, cost={},
    )  # fmt: skip


def _row(config: Config, method: str, name: str, seed: int) -> Callable[[str, float], Record]:
    """Makes records of one sample from metrics and values."""

    def record(metric: str, value: float) -> Record:
        return Record(
            method, config.pair, "eval", name, seed, MEAN_VIEW, FINAL_STEP, metric, value,
            config.protocol.hash, math.nan, math.nan,
        )  # fmt: skip

    return record


def measured_once(
    path: Path,
    config: Config,
    samples: Mapping[str, SampleSet],
    renders: RenderSet,
    consistent: Sequence[str],
) -> list[Record]:
    """`measure`, kept at `path` (CSV of records) until the samples, renders or protocol change."""
    inputs = {name: sha256_file(found.folder / "manifest.json") for name, found in samples.items()}
    changed = {n: (s.folder / "manifest.json").stat().st_mtime_ns for n, s in samples.items()}
    key = sha256_json([VERSION, inputs, changed, renders.key, config.protocol.hash, list(consistent)])
    beside = path.with_suffix(".json")
    try:
        if json.loads(beside.read_text(encoding="utf-8")) == {"key": key}:
            return read_records(path)
    except (OSError, ValueError, UserError):
        pass
    records = list(measure(config, samples, renders, consistent))
    remove(beside)
    write_records(path, records)
    write_json(beside, {"key": key})
    return records

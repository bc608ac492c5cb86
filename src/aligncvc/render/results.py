"""What the stage hands on: object folders that are fit for use, their status, manifest and contact sheet."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from aligncvc.config.jobs.render import RenderJob
from aligncvc.files import atomic_path, write_json
from aligncvc.objects.listing import credit_of
from aligncvc.ownership import place, remove
from aligncvc.render import jobs
from aligncvc.scene.views import Views, save_views
from aligncvc.tsv import write_tsv
from aligncvc.unfinished import scratch

STATUS = "status.json"
MAX_TILES = 1200
MIN_COVERAGE, MAX_COVERAGE = 0.01, 0.95
MIN_COVERAGE_EDGE_ON = 0.0005
"""A single view may show a flat object from its edge; it may not be empty."""
MIN_CONTRAST = 2 / 255
SURFACE = {"depth.npy", "normals.npy"}
"""What renders know of the surface, and published pictures do not."""


@dataclass(frozen=True)
class Status:
    """One row of the manifest. stage: where it failed (objects, source, import, normalise, render, timeout,
    crash, quality), or "done"."""

    id: str
    status: str
    stage: str
    reason: str
    seconds: float
    attempts: int
    job_hash: str
    licence: str
    creator: str

    @property
    def ok(self) -> bool:
        return self.status == "ok"


def read_status(out: Path, object_id: str) -> Status | None:
    """The status an earlier run left, or None if there is none that can be read."""
    try:
        return Status(**json.loads((out / object_id / STATUS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def views_from_npz(path: Path, job: RenderJob) -> tuple[Views, dict[str, Any]]:
    """Read `blender_scene`'s file: the views and their normalisation (`Scene._load` has the formula)."""
    with np.load(path) as data:
        rgba = torch.from_numpy(data["rgba"]).permute(0, 3, 1, 2).float() / 255
        depth = torch.from_numpy(data["depth"])
        normals = torch.from_numpy(data["normals"]).permute(0, 3, 1, 2)
        normalisation = {k: data[k].tolist() for k in ("scale", "offset", "stretch", "heading_deg")}
    return Views(rgba, jobs.ring_cameras(job.render), depth, normals), normalisation


def check_views(views: Views, cropped: bool = False) -> str | None:
    """The first reason why these views are unusable, or None. cropped: an object may reach the border.

    Coverage is the mean alpha of a view: the input view and the mean over the views must lie in [1 %, 95 %].
    """
    return next(_faults(views, cropped), None)


def _faults(views: Views, cropped: bool) -> Iterator[str]:
    for name, values in (("colours", views.rgba), ("depth", views.depth), ("normals", views.normals)):
        if values is not None and not bool(values.isfinite().all()):
            yield f"{name} hold values that are not finite"
    coverage = views.alpha.mean((1, 2, 3))
    for name, value in (("input view", float(coverage[0])), ("mean view", float(coverage.mean()))):
        if value < MIN_COVERAGE:
            yield f"the object covers {value:.2%} of the {name}, less than {MIN_COVERAGE:.0%}"
    most, fullest = float(coverage.max()), int(coverage.argmax())
    if most > MAX_COVERAGE:
        yield f"the object covers {most:.1%} of view {fullest}, more than {MAX_COVERAGE:.0%}"
    if float(coverage.min()) < MIN_COVERAGE_EDGE_ON:
        yield f"view {int(coverage.argmin())} is empty"
    # A half-covered pixel: the pixel filter lets a silhouette that just fits spill a little over the edge.
    solid = views.alpha[:, 0] > 0.5
    touching = (solid[:, [0, -1], :].flatten(1).any(1) | solid[:, :, [0, -1]].flatten(1).any(1)).nonzero()
    if len(touching) and not cropped:
        yield f"the object touches the border of view {int(touching[0])}"
    colours = views.rgba[:, :3].transpose(0, 1)[:, solid]
    if colours.shape[1] == 0:
        yield "no pixel is mostly covered by the object"
    if float((colours.max(1).values - colours.min(1).values).max()) < MIN_CONTRAST:
        yield "the object has one constant colour in all views"
    if views.depth is None:
        return
    if bool((views.depth < 0).any()):
        yield "depth is negative somewhere"
    seen, near, far = views.depth > 0, views.cameras.near, views.cameras.far
    if bool((seen & ((views.depth < near) | (views.depth > far))).any()):
        yield f"depth lies outside [{near:g}, {far:g}]"
    share = float((seen & solid).sum() / solid.sum())
    if share < 0.5:
        yield f"only {share:.0%} of the object's pixels have a depth"


def object_files(views: int) -> set[str]:
    """Names in the folder of an object with so many views, its status apart."""
    return {*(f"{i:03d}.png" for i in range(views)), "cameras.json", *SURFACE}


def check_folder(folder: Path, views: int, size_px: int, surface: bool = True) -> str | None:
    """The first reason why a written object folder is incomplete, or None. surface: whether that is in it."""
    expected = object_files(views) if surface else object_files(views) - SURFACE
    found = {p.name for p in folder.iterdir()}
    if found != expected:
        return f"files missing or left over: {', '.join(sorted(found ^ expected))}"
    for name in sorted(n for n in expected if n.endswith(".png")):
        with Image.open(folder / name) as image:
            if image.size != (size_px, size_px) or image.mode != "RGBA":
                return f"{name} is {image.mode} {image.size}, expected RGBA {(size_px, size_px)}"
    return None


def store(out: Path, status: Status, views: Views | None, facts: Mapping[str, Any], cropped: bool) -> Status:
    """Check and write an object's folder; returns the status as stored: failed at "quality" if it is unfit.

    Built beside, then moved file by file, the status last: files of another origin (the user's notes) stay.
    Without views (a failure) the folder holds only the status. cropped: an object may reach the border.
    """
    final = out / status.id
    with scratch(out) as partial:
        if views is not None:
            reason = check_views(views, cropped)
            if reason is None:
                save_views(partial, views, **facts)
                surface = views.depth is not None
                reason = check_folder(partial, len(views), views.cameras.height, surface)
            if reason is not None:
                failed = replace(status, status="failed", stage="quality", reason=reason)
                return store(out, failed, None, {}, cropped)
        write_json(partial / STATUS, asdict(status))
        made = sorted(partial.iterdir(), key=lambda path: path.name == STATUS)
        final.mkdir(exist_ok=True)
        remove(final / STATUS)  # half-replaced folders count as not rendered
        for name in left_before(final) - {path.name for path in made}:
            remove(final / name)
        for path in made:
            place(path, final / path.name)
    return status


def left_before(folder: Path) -> set[str]:
    """Names in an object's folder that this stage may have written."""
    own = {STATUS, *object_files(0)}
    return {p.name for p in folder.glob("*") if p.name in own or re.fullmatch(r"\d{3,}\.png", p.name)}


def write_manifest(path: Path, statuses: Sequence[Status]) -> None:
    """Write manifest.tsv, one row per object in the objects manifest's order."""
    rows = ({**asdict(status), "seconds": f"{status.seconds:.2f}"} for status in statuses)
    write_tsv(path, Status.__dataclass_fields__, rows)


def write_contact_sheet(path: Path, out: Path, statuses: Sequence[Status], tile_px: int = 96) -> None:
    """A grid of input views on white with their ids; failed objects are grey tiles that say why.

    Below it stand the makers whose licences ask to be named.
    """
    shown, width = statuses[:MAX_TILES], tile_px // 6
    columns = min(16, max(1, math.ceil(math.sqrt(len(shown)))))
    rows = math.ceil(len(shown) / columns)
    hidden = len(statuses) - len(shown)
    below = [f"{hidden} more objects are not shown"] if hidden else []
    made = sorted({credit for each in shown if each.ok and (credit := credit_of(each.creator, each.licence))})
    below += textwrap.wrap(f"by {', '.join(made)}", columns * width) if made else []
    sheet = Image.new("RGB", (columns * tile_px, rows * (tile_px + 12) + 14 * len(below)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, status in enumerate(shown):
        x, y = (i % columns) * tile_px, (i // columns) * (tile_px + 12)
        if status.ok:
            with Image.open(out / status.id / "000.png") as image:
                tile = image.convert("RGBA").resize((tile_px, tile_px), Image.Resampling.LANCZOS)
            sheet.paste(tile, (x, y), tile)
        else:
            draw.rectangle((x, y, x + tile_px - 2, y + tile_px - 2), fill=(190, 190, 190))
            said = f"{status.stage}: {status.reason}"
            lines = [said[start : start + width] for start in range(0, len(said), width)][:7]
            draw.multiline_text((x + 3, y + 3), "\n".join(lines), fill=(120, 0, 0))
        # Names of one source start alike; their ends tell them apart.
        name = status.id if len(status.id) <= width else ".." + status.id[2 - width :]
        draw.text((x + 2, y + tile_px - 1), name, fill="black")
    for i, line in enumerate(below):
        draw.text((2, rows * (tile_px + 12) + 14 * i + 1), line, fill="black")
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")

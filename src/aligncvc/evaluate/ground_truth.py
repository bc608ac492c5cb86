"""The protocol's ground truth: views and surfaces of the objects, linted, in the input view's frame."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from torch import Tensor

from aligncvc.config.protocols import Protocol
from aligncvc.errors import UserError
from aligncvc.evaluate.lint import require_clean
from aligncvc.evaluate.samples import in_input_frame
from aligncvc.evaluate.trial import Model, Trial
from aligncvc.meshes import load_mesh
from aligncvc.metrics.surface_alignment import Similarity
from aligncvc.objects.indexes import read_index
from aligncvc.objects.pictures import SUFFIX, load_scan
from aligncvc.scene.cameras import relative_c2w
from aligncvc.scene.renderset import IN_TURN, PosedObject, RenderSet
from aligncvc.scene.rigs import Rig
from aligncvc.scene.views import view_facts
from aligncvc.tsv import read_tsv

METRIC_VERSION = 2
"""Raise it, here and in config/protocols, when a metric gives another number for the same input."""


def require_supported(protocol: Protocol) -> None:
    """Raises UserError if the protocol was written for other versions of the metrics than these."""
    if protocol.versions.metrics != METRIC_VERSION:
        raise UserError(
            f"protocol {protocol.name} asks for version {protocol.versions.metrics} of the metrics and this "
            f"code has version {METRIC_VERSION}; set versions.metrics to {METRIC_VERSION} in its file to "
            "measure anew, or use the code of that version"
        )


class GroundTruth:
    """What samples are measured against."""

    def __init__(
        self, protocol: Protocol, renders: Path, objects: Path | None, rig: Rig | None = None
    ) -> None:
        """Manifests of the renders and, where geometry has a truth, of the objects; rig, if not theirs."""
        require_supported(protocol)
        self.protocol, self.objects = protocol, objects
        self._hashes: dict[str, str] = {}
        self.set = RenderSet(renders, protocol.render.size_px, rig, as_rendered=True, kept=IN_TURN)

    def load(self, name: str) -> PosedObject:
        """One object's views in the frame of its input view. Raises UserError if they are unusable."""
        posed = self.set.load(name)
        self._hashes.setdefault(name, _pixels_sha256(posed))
        views, rendered = in_input_frame(posed), self.protocol.render
        options = {"expected": rendered.ring_views, "allow_border": rendered.crop == "keep"}
        require_clean(views.rgba, views.cameras, where=str(self.set.manifest.parent / name), **options)
        return replace(posed, views=views)

    def surface(self, name: str) -> trimesh.Trimesh | None:
        """The ground-truth mesh in the same frame, None without an objects manifest or a published mesh."""
        if self.objects is None:
            return None
        mesh = load_truth_surface(self.objects, name, view_facts(self.set.manifest.parent / name))
        if mesh is None:
            return None
        posed = self.set.load(name)
        turn = relative_c2w(torch.eye(4)[None], posed.views.cameras.c2w[posed.rig[0]])[0]
        return mesh.apply_transform(turn.double().numpy())

    def trial(
        self,
        posed: PosedObject,
        seed: int,
        views: Tensor | None,
        renders: Tensor | None,
        model: Model | None,
        cost: Mapping[str, float],
    ) -> Trial:
        """The truth of `posed`, which `load` returned, beside a result, as `Trial` has it."""
        scored = self.protocol.views.indices(len(posed.views), posed.rig)
        rig = posed.rig if posed.poses is None else list(range(len(posed.poses)))
        return Trial(
            posed.id, seed, posed.views, rig, scored, self.protocol.background,
            views, renders, model, self.surface(posed.id), cost, posed.poses,
        )  # fmt: skip

    def sha256(self) -> dict[str, str]:
        """Hash of each readable object's 8-bit pixels: object, renderer, light and framing in one number."""
        for name in set(self.set.ids) - self._hashes.keys():
            with suppress(Exception):  # said where the object is scored
                self._hashes[name] = _pixels_sha256(self.set.load(name))
        return {name: self._hashes[name] for name in self.set.ids if name in self._hashes}


def _pixels_sha256(posed: PosedObject) -> str:
    pixels = (posed.views.rgba.clamp(0, 1) * 255).round().byte().numpy()
    return hashlib.sha256(str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def load_truth_surface(manifest: Path, name: str, facts: Mapping[str, Any]) -> trimesh.Trimesh | None:
    """The object's mesh in the renders' frame, None for pictures without one. UserError if it is not there.

    facts: of its cameras.json, whose `normalisation` the renderer applied (new = scale * old + offset, z up).
    """
    try:
        rows = {row["id"]: row for row in read_tsv(manifest, ("id", "path"), "make the objects again")}
        path = manifest.parent / rows[name]["path"]
        pictured = path.name.endswith(SUFFIX)
        scan = load_scan(read_index(path)) if pictured else None
        if pictured and scan is None:
            return None
        normalisation = facts["normalisation"]
        offset = np.asarray(normalisation["offset"], float)
        move = Similarity(float(normalisation["scale"]), np.eye(3), offset)
    except (UserError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the true surface of {name} cannot be placed ({error!r} in {manifest} or its cameras.json); "
            "fetch and render the objects again"
        ) from error
    mesh = load_mesh(path, colours=False) if scan is None else scan
    return trimesh.Trimesh(move(np.asarray(mesh.vertices)), mesh.faces, process=True)

"""Rendered objects as the networks see them: a manifest, its usable objects, posed images on white."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aligncvc.errors import UserError, reason_of
from aligncvc.files import sha256_json
from aligncvc.scene.archives import Archives, decoded, is_sharded, read_object
from aligncvc.scene.cameras import Cameras, orbit, parse_cameras, relative_c2w, spherical_deg
from aligncvc.scene.framing import at_field_of_view
from aligncvc.scene.rigs import Rig, fov_covering
from aligncvc.scene.views import Views, composite, decode_views, load_views, view_facts
from aligncvc.scene.walk import Walk
from aligncvc.tsv import read_tsv

CACHED_OBJECTS = 64
"""What training keeps of the objects it has read: they come again, in no order."""
PLACES = ("azimuth_deg", "elevation_deg", "distance")
"""What `spherical_deg` gives."""
RIG_CAMERA = "rig_camera"
"""Of cameras.json, for published pictures: the camera that the input is taken for (azimuths_deg of the rig,
elevation_deg, distance, fov_y_deg)."""
IN_TURN = 4
"""What a stage keeps that takes one object after the other. One of 16 views of 256 px takes 34 MB."""


@dataclass(frozen=True)
class PosedObject:
    """One object's ring: views, and the indices of the generator's rig among them (the input view first).

    fov_y_deg: at which `rig_from` and `ring_from` show them (`at_field_of_view`); None: as they are.
    poses: of published pictures, which stand elsewhere, the rig's own cameras (V, 4, 4) with the input view
    at azimuth 0; then no view but the input is of the rig.
    """

    id: str
    views: Views
    rig: list[int]
    fov_y_deg: float | None = None
    poses: Cameras | None = None

    @property
    def rig_cameras(self) -> Cameras:
        """(V, 4, 4) of the generator's rig, in the frame of the views; of pictures in the input view's."""
        return self.views.cameras[self.rig] if self.poses is None else self.poses

    def with_rig(self, rig: Rig) -> PosedObject:
        """The same views with the rig of another generator, as large as they are."""
        if self.poses is None:
            return replace(self, rig=rig.indices(len(self.views)))
        camera = {name: float(x[0]) for name, x in zip(PLACES, spherical_deg(self.poses), strict=True)}
        return replace(self, poses=_assumed({**camera, "fov_y_deg": self.poses.fov_y_deg}, rig, self.views))

    def rig_from(self, start: int = 0) -> tuple[Tensor, Cameras]:
        """The rig turned by `start` ring steps: images (V, 3, H, W) on white, cameras from azimuth 0.

        Of published pictures the input alone, (1, 3, H, W). Raises UserError if these are to be turned.
        """
        if self.poses is not None and start:
            raise UserError(
                f"{self.id} comes as published pictures, which have no ring to train on; train on renders"
            )
        rgba, cameras = self.ring_from(start, self.rig)
        return composite(rgba, 1.0), cameras if self.poses is None else self.poses

    def ring_from(self, start: int, members: Sequence[int]) -> tuple[Tensor, Cameras]:
        """Views `members` (N, 4, H, W) of the ring turned by `start` steps, posed as the rig's are."""
        chosen = self.views[[(start + i) % len(self.views) for i in members]]
        cameras, front = chosen.cameras, self.views.cameras.c2w[(start + self.rig[0]) % len(self.views)]
        cameras = replace(cameras, c2w=relative_c2w(cameras.c2w, front))
        if self.fov_y_deg is None:
            return chosen.rgba, cameras
        return at_field_of_view(chosen.rgba, cameras, self.fov_y_deg)

    @property
    def between(self) -> list[int]:
        """The ring's members that the rig leaves out."""
        return [i for i in range(len(self.views)) if i not in self.rig]


class RenderSet:
    """The objects of a render manifest whose status is ok, in the manifest's order.

    They lie in folders or, where the manifest lists shards, in archives: then what is held in memory does not
    grow with the number of objects, unless all `ids` are asked for.
    """

    def __init__(
        self,
        manifest: Path | str,
        size_px: int | None = None,
        rig: Rig | None = None,
        *,
        as_rendered: bool = False,
        kept: int | None = None,
    ) -> None:
        """size_px: None takes any size. rig: None takes the one that cameras.json names.

        as_rendered: objects keep their size in the renders, whatever the rig says. kept: so many objects read
        last stay in memory (CACHED_OBJECTS if left out). Raises UserError for an unusable manifest.
        """
        self.manifest = Path(manifest)
        self.size_px, self.rig, self.as_rendered = size_px, rig, as_rendered
        self.archives = Archives(self.manifest) if is_sharded(self.manifest) else None
        if self.archives is None:
            rows = read_tsv(self.manifest, ("id", "status"), "write renders with python -m aligncvc.render")
            ready = [row for row in rows if row["status"] == "ok"]
            self.ids = [row["id"] for row in ready]
            self.key = sha256_json([[row["id"], row.get("job_hash")] for row in ready])
        else:
            self.key = sha256_json(self.archives.content)
        if not len(self):
            raise UserError(
                f"{self.manifest} lists no rendered object (none has status ok); "
                "look at its reason column and render again"
            )
        self.at = lru_cache(CACHED_OBJECTS if kept is None else kept)(self._read)
        self.walk = lru_cache(1)(self._walk)

    def __len__(self) -> int:
        return len(self.ids) if self.archives is None else len(self.archives)

    @cached_property
    def ids(self) -> list[str]:
        """Of all objects."""
        assert self.archives is not None
        return self.archives.ids()

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.ids)}

    def load(self, object_id: str) -> PosedObject:
        """One object, as `at`. Raises UserError if the set has none of this name."""
        if object_id not in self._positions:
            raise UserError(
                f"{self.manifest} lists no rendered object {object_id}; "
                "look at its reason column and render it again"
            )
        return self.at(self._positions[object_id])

    def _walk(self, seed: int) -> Walk | None:
        """The order in which training takes archived objects; None where they lie in folders."""
        return None if self.archives is None else Walk([s.ok for s in self.archives.shards], seed)

    def _read(self, position: int) -> PosedObject:
        """One object; `at` keeps recent ones. Raises UserError if its files are missing or odd."""
        if self.archives is None:
            name = self.ids[position]
            where = self.manifest.parent / name
        else:
            folder, row = self.archives.at(position)
            name, where = row.id, folder / row.id
        try:
            if self.archives is None:
                views, facts = load_views(where), lambda: view_facts(where)
            else:
                files = read_object(folder, row)
                text = decoded(files, "cameras.json", where)
                views = decode_views(parse_cameras(text, f"{where}/cameras.json"), files.get, where)
                facts = lambda: json.loads(text)  # noqa: E731
        except UserError:
            raise
        except Exception as error:  # readers raise many kinds
            raise UserError(f"the renders in {where} cannot be used: {reason_of(error)}") from error
        if self.size_px is not None and views.rgba.shape[-2:] != (self.size_px, self.size_px):
            height, width = views.rgba.shape[-2:]
            raise UserError(
                f"{where} holds {width}x{height} renders but render.size_px is {self.size_px}; "
                "render the set with this configuration"
            )
        fov_y_deg, camera = self._fov_y_deg(views.cameras), facts().get(RIG_CAMERA)
        if camera is None and self.rig is not None:
            return PosedObject(name, views, self.rig.indices(len(views)), fov_y_deg)
        rig = _named_rig(facts, where, len(views))
        poses = None if camera is None else self._poses(camera, views, where)
        return PosedObject(name, views, rig, fov_y_deg, poses)

    def _poses(self, camera: Any, views: Views, where: Path) -> Cameras:
        """The rig's cameras of published pictures. Raises UserError for an odd entry of cameras.json."""
        try:
            poses = _assumed(camera, self.rig, views)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{where}/cameras.json has an odd {RIG_CAMERA}; render the object again"
            ) from error
        fov_y_deg = self._fov_y_deg(poses)
        return poses if fov_y_deg is None else replace(poses, fov_y_deg=fov_y_deg)

    def _fov_y_deg(self, cameras: Cameras) -> float | None:
        half = None if self.rig is None or self.as_rendered else self.rig.half_width
        return None if half is None else fov_covering(half, float(cameras.positions[0].norm()))


def _assumed(camera: Mapping[str, Any], rig: Rig | None, views: Views) -> Cameras:
    """(V, 4, 4) of a rig, input view at azimuth 0, seen with the camera that pictures are taken for."""
    azimuths = camera["azimuths_deg"] if rig is None else rig.azimuths_deg
    lens = {name: float(camera[name]) for name in ("distance", "fov_y_deg")}
    return orbit(azimuths, float(camera["elevation_deg"]), **lens, size_px=views.cameras.height)


def _named_rig(facts: Callable[[], Any], where: Path, count: int) -> list[int]:
    """The rig that cameras.json names among `count` views. Raises UserError for none or a wrong one."""
    try:
        rig = [int(i) for i in facts()["rigs"]["rig"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}/cameras.json names no rig; render the object again") from error
    if not rig or not all(0 <= i < count for i in rig):
        raise UserError(
            f"{where}/cameras.json names rig views {rig} but holds {count} views; render the object again"
        )
    return rig


def batched(cameras: list[Cameras]) -> Cameras:
    """Stack the cameras of B objects, each (V, 4, 4), into one (B, V, 4, 4)."""
    return replace(cameras[0], c2w=torch.stack([c.c2w for c in cameras]))

"""Protocols as files: everything that changes a number without changing the method.

Framing and background alone move PSNR by 4 to 8 dB, more than most methods differ. A protocol is a YAML file
(config/protocols/*.yaml) that says which objects are shown, how they are rendered and which metrics compare
what; twelve hex digits of its hash stand in every record and output path, and records of two protocols are
never put side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from aligncvc.config.protocol_metrics import LEARNED_LEAST_PX, Metrics, Tsed, too_small_to_match
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, parse_yaml, read_text, sha256_file, sha256_json
from aligncvc.home import project_file
from aligncvc.scene.picture_cameras import Pictures
from aligncvc.section import Section

FOLDER = PROJECT_ROOT / "config/protocols"


class Rendering(Section):
    """Everything that decides the pixels of a rendered object, except the object and the root seed."""

    size_px: int = Field(64, ge=16, description="side of the square renders")
    elevation_deg: float = Field(10.0, gt=-90, lt=90, description="of the ring above the horizon")
    distance: float = Field(3.0, gt=0, description="camera distance from the object's centre")
    fov_y_deg: float = Field(39.6, gt=0, lt=180, description="vertical field of view in degrees")
    ring_views: int = Field(16, ge=4, description="evaluation ring, view 0 is the input view")
    rig_views: int = Field(4, ge=2, description="generator's rig, evenly spaced members of the ring")
    samples: int = Field(16, ge=1, description="Cycles samples a pixel, fixed (no adaptive sampling)")
    denoise: bool = Field(False, description="Cycles' denoiser after sampling")
    normalisation: Literal["unit-sphere", "unit-cube"] = Field(
        "unit-sphere", description="the object fits a sphere of radius 1, or a cube of side 1 (SyncDreamer)"
    )
    light: Literal["studio", "uniform"] = Field(
        "studio", description="a wide sun over a white world, or a world of grey 0.5 alone (SyncDreamer)"
    )
    crop: Literal["refuse", "keep"] = Field(
        "refuse", description="objects that touch an image's border: bad objects, or part of the protocol"
    )
    pictures: Pictures | None = Field(
        None,
        description="objects of source `pictures`: their cameras. Then elevation_deg, distance and fov_y_deg "
        "are the camera that the input is taken for, and ring_views the number of pictures; null: renders",
    )

    @model_validator(mode="after")
    def _rig_divides_ring(self) -> Rendering:
        if self.pictures is not None:
            if self.ring_views != len(self.pictures.positions):
                raise ValueError("ring_views must be the number of pictures.positions")
        elif self.ring_views % self.rig_views:
            raise ValueError("rig_views must divide ring_views (the rig's views are members of the ring)")
        return self

    @property
    def rig_indices(self) -> list[int]:
        """Ring indices of the rig's views; the first is the input view. Of pictures only that is there."""
        if self.pictures is not None:
            return [0]
        return list(range(0, self.ring_views, self.ring_views // self.rig_views))


class ObjectChoice(Section):
    """Which objects: rows of a TSV. Where their files lie says the configuration (objects.sets.eval)."""

    list: str = Field(description="TSV of objects, relative to the repository's root")
    split: Literal["train", "eval", "all"] = Field(
        "all", description="rows of the list that are taken, by its column split"
    )
    limit: int | None = Field(None, ge=1, description="only the first n")
    obtain: str | None = Field(
        None, description="how to get objects that do not ship with the repository; not hashed"
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="of the TSV; computed where absent"
    )


class ScoredViews(Section):
    """Which views of the ring image metrics compare."""

    scored: Literal["ring", "held_out"] = Field("ring", description="held_out leaves the rig's poses out")
    input_view: bool = Field(True, description="whether the input view counts; never with held_out")

    @model_validator(mode="after")
    def _held_out_has_no_input(self) -> ScoredViews:
        if self.scored == "held_out" and self.input_view:
            raise ValueError("held_out leaves the rig out, and the input view with it: set input_view: false")
        return self

    def indices(self, ring_views: int, rig: Sequence[int]) -> list[int]:
        """Ring indices to score. rig: ring indices of the generator's views, the input view first."""
        left_out = set(rig) if self.scored == "held_out" else set() if self.input_view else {rig[0]}
        return [i for i in range(ring_views) if i not in left_out]


class Versions(Section):
    """Versions of the code behind the numbers; a stage of another version refuses the protocol."""

    scene: int = Field(ge=1, description="SCENE_VERSION of config/jobs/render.py")
    metrics: int = Field(ge=1, description="METRIC_VERSION of evaluate/ground_truth.py")


class Protocol(Section):
    """One way to measure. Two protocols with equal hashes give comparable numbers; others do not."""

    name: str = Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$", description="the file's name, not hashed")
    about: str = Field(description="one or two sentences for people, not hashed")
    protocol_class: str = Field(description="published numbers of the same class may stand beside ours")
    versions: Versions
    objects: ObjectChoice
    render: Rendering
    background: float = Field(1.0, ge=0, le=1, description="grey value both sides are composited on")
    alpha: Literal["blend"] = Field("blend", description="straight alpha, blended over the background")
    resize: Literal["none", "bilinear", "bicubic", "area"] = Field(
        "none", description="antialiased filter for images of another size; none: another size is an error"
    )
    views: ScoredViews = ScoredViews()
    seeds: list[int] = Field([0], min_length=1, description="of the sampling runs")
    judge: str | dict[str, Any] = Field(
        "demo-lgm",
        description="reconstructor behind held-out and split-half scores and the controls, the same for all "
        "rows: a model of the ledger, or an inline `network`",
    )
    judge_facts: dict[str, Any] | None = Field(
        None, description="what the judge's network and weights are; computed, and hashed"
    )
    metrics: Metrics = Metrics()

    @model_validator(mode="after")
    def _views_can_be_matched(self) -> Protocol:
        if (
            self.metrics.consistency.tsed.matcher == "disk_lightglue"
            and self.render.size_px < LEARNED_LEAST_PX
        ):
            raise ValueError(too_small_to_match("render.size_px", self.render.size_px))
        return self

    @model_validator(mode="after")
    def _seeds_differ(self) -> Protocol:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {self.seeds} name one twice")
        return self

    @property
    def content(self) -> dict[str, Any]:
        """What the hash covers: all but words; the object list by its content, the judge by what it is.

        The matcher counts if it is another than SIFT, pictures if there are any: protocols from before the
        choice keep their hashes.
        """
        content = self.model_dump(
            mode="json", exclude={"name": True, "about": True, "judge": True, "objects": {"list", "obtain"}}
        )
        tsed = content["metrics"]["consistency"]["tsed"]
        if tsed["matcher"] == Tsed().matcher:
            del tsed["matcher"]
        if self.render.pictures is None:
            del content["render"]["pictures"]
        return content

    @property
    def hash(self) -> str:
        """Twelve hex digits of the SHA-256 of `content`."""
        return sha256_json(self.content)[:12]

    @property
    def slug(self) -> str:
        """Name and hash, for file names."""
        return f"{self.name}-{self.hash}"

    @property
    def resolved(self) -> dict[str, Any]:
        """Everything, JSON-serialisable, with the hash: what is written beside records."""
        return {**self.model_dump(mode="json"), "hash": self.hash}


def presets() -> list[str]:
    """Names of the protocols in config/protocols, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_protocol(name: str | Path) -> Protocol:
    """A protocol by its name in config/protocols, or by a path (relative to the repository's root).

    Raises UserError with one sentence for anything wrong in it.
    """
    name = str(name)
    path = project_file(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    try:
        data = parse_yaml(read_text(path))
    except OSError:
        raise UserError(
            f"there is no protocol {name!r} ({path}); choose one of {', '.join(presets())}, or give the "
            "path of a .yaml file"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"protocol {path} is not YAML: {' '.join(str(error).split())}") from None
    return parse_protocol(data, path.stem, str(path))


def parse_protocol(data: Any, name: str, where: str) -> Protocol:
    """Validate a protocol's mapping and hash its object list. Raises UserError naming each fault."""
    if not isinstance(data, dict):
        raise UserError(
            f"protocol {where} is no mapping; write keys and values as in config/protocols/demo.yaml"
        )
    if "name" in data:
        raise UserError(f"protocol {where} is not valid: name: a protocol is named by its file; leave it out")
    protocol = Protocol.parsed({**data, "name": name}, f"protocol {where}")
    listing = project_file(protocol.objects.list)
    if not listing.is_file():
        raise UserError(
            f"protocol {where} names the object list {listing}, which does not exist; correct objects.list"
        )
    found = sha256_file(listing)
    if protocol.objects.sha256 not in (None, found):
        raise UserError(
            f"the object list {listing} has sha256 {found[:12]}... and protocol {where} expects "
            f"{str(protocol.objects.sha256)[:12]}...; restore the list or write a protocol of your own"
        )
    objects = protocol.objects.model_copy(update={"sha256": found})
    return protocol.model_copy(update={"objects": objects})


def differences(one: Protocol, other: Protocol) -> list[str]:
    """The hashed settings in which two protocols differ, as "render.size_px: 64 / 256"; none: comparable."""
    a, b = dict(_leaves(one.content)), dict(_leaves(other.content))
    different = (key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key))
    return [f"{key}: {a.get(key)} / {b.get(key)}" for key in different]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values of a nested mapping; lists are values."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value

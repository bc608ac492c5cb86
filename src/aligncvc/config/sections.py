"""Typed configuration: one source for the YAML, its schema and every stage's settings.

Unknown keys are errors. Threads and memory are not here: they belong to `profiles/`.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from aligncvc.config.align import Align
from aligncvc.config.networks import Mvg, Recon
from aligncvc.config.protocols import Protocol, Rendering, Section, faults, load_protocol
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, write_text

EVALUATION_SET = "eval"
"""The object set whose objects and rendering the protocol decides."""


class ObjectSet(Section):
    """Where one named set of 3D objects comes from."""

    source: Literal["bundled", "sweethome3d", "objaverse", "folder", "gobjaverse"] = "bundled"
    list: str | None = Field(None, description="TSV of objects (id, source, sha256, licence, creator, split)")
    split: Literal["train", "eval", "all"] = "all"
    limit: int | None = Field(None, ge=1, description="use only the first n objects of the list")
    path: str | None = Field(
        None, description="folder of meshes (folder), dataset's root (gobjaverse), .deb or URL (sweethome3d)"
    )
    variants: int = Field(
        1, ge=1, description="looks that are rendered: the object's own, others with random colours and sizes"
    )


class Objects(Section):
    sets: dict[str, ObjectSet] = Field(
        default_factory=lambda: {
            "train": ObjectSet(list="config/objects/bundled.tsv", split="train"),
            "eval": ObjectSet(),
            "furniture": ObjectSet(source="sweethome3d", list="config/objects/furniture.tsv", variants=3),
        },
        description="named sets; `train` feeds alignment, `eval` is held out (which objects: see "
        "evaluate.protocol), `furniture` feeds pretraining",
    )

    @model_validator(mode="after")
    def _protocol_chooses(self) -> Objects:
        held_out = self.sets.get(EVALUATION_SET, ObjectSet())
        if held_out != ObjectSet(source=held_out.source, path=held_out.path):
            raise ValueError(
                f"list, split and limit of the set {EVALUATION_SET!r} are the protocol's: leave them out "
                "here and set them in the file that evaluate.protocol names"
            )
        return self


class Render(Rendering):
    """BlenderProc settings of every set but `eval`, which the protocol renders. Models work at this size."""

    timeout_seconds: float = Field(120.0, gt=0, description="an object that takes longer is killed")
    max_failure_rate: float = Field(
        0.1, ge=0, le=1, description="the rule fails above this share of bad objects"
    )


class Method(Section):
    """One row of the tables."""

    sampler: Literal["two_stage", "aligncvc"] = "aligncvc"
    steps: int = Field(4, ge=1)
    run: str | None = Field(None, description="alignment run whose weights are used; null = pretrained")
    guidance_scale: float | None = Field(None, description="null: mvg.guidance_scale")
    table: list[Literal["table1", "table2"]] = ["table1"]


class Sample(Section):
    timesteps: dict[int, list[int]] = Field(
        default_factory=lambda: {4: [999, 749, 599, 299]},
        description="3D-aware sampling: timesteps by K; other K are spaced evenly",
    )
    methods: dict[str, Method] = Field(
        default_factory=lambda: {
            # 2.0 suits two-stage sampling best on training objects, not the 3D-aware loop (lab log).
            "two_stage_50": Method(sampler="two_stage", steps=50, guidance_scale=2.0),
            "two_stage_4": Method(sampler="two_stage", steps=4, guidance_scale=2.0),
            "aware_4": Method(table=["table1", "table2"]),
            "soft_4": Method(run="soft", table=["table2"]),
            "hard_4": Method(run="hard", table=["table2"]),
            "short_4": Method(run="both", table=["table2"]),
            "aligncvc_4": Method(run="aligned", table=["table1", "table2"]),
            **{f"aware_{k}": Method(steps=k, table=["table2"]) for k in (1, 2, 8)},
            **{f"aligncvc_{k}": Method(steps=k, run="aligned", table=["table2"]) for k in (1, 2, 8)},
        }
    )


class Evaluate(Section):
    protocol: str = Field("demo", description="a name in config/protocols, or the path of a .yaml file")
    controls: list[Literal["gt", "jitter", "shuffled", "copy"]] = Field(
        ["gt", "jitter", "shuffled", "copy"], description="rows of known consistency in every table"
    )
    curves: list[str] = Field(
        ["two_stage_50", "two_stage_4", "aware_4", "aligncvc_4"],
        description="methods whose held-out and split-half scores are measured along the steps (four at "
        "most); of others after the last step only",
    )
    must_discriminate: list[str] = Field(
        ["residual_psnr", "heldout_psnr", "split_ssim"],
        description="metrics that must rank the controls gt, jitter, shuffled, or the run fails",
    )


class Paper(Section):
    columns: list[str] = Field(
        [
            "psnr", "ssim", "lpips", "dists", "fg_psnr", "chamfer_half_sum@none", "f_0.1@none",
            "residual_psnr", "delta_psnr", "heldout_psnr", "split_psnr",
            "kernel_lite0_views_renders", "kernel_lite0_renders",
            "network_calls", "seconds", "peak_mb",
        ],
        description="metrics that tables show, in order; their CSV holds all that were measured",
    )  # fmt: skip
    reference: dict[Literal["table1", "table2"], str] = Field(
        default_factory=dict,
        description="the row that others are compared with; left out: the two-stage row with most steps "
        "(table1), the 3D-aware row without alignment at the number of steps that most rows have (table2)",
    )
    compared: list[str] = Field(
        ["psnr", "lpips", "residual_psnr"], description="metrics with a difference and win rate to that row"
    )
    showcase: int = Field(6, ge=1, description="objects shown in figures and report")
    turntable_views: int = Field(24, ge=1)
    viewer_models: int = Field(6, ge=0, description="rotating models in the report")


class Training(Section):
    """How one network is pretrained: AdamW, warm-up, plateau, cosine."""

    steps: int = Field(3000, ge=1)
    batch: int = Field(4, ge=1, description="objects a step (single views for the VAE)")
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    ema_decay: float = Field(0.998, ge=0, lt=1)
    save_every: int = Field(250, ge=1, description="steps between resumable states and held-out scores")
    bf16: bool = Field(True, description="bfloat16 autocast of the network")


class Pretrain(Section):
    """`snakemake pretrain`: the demo's networks from renders of the furniture package."""

    set: str = "furniture"
    vae: Training = Training(steps=2000, batch=16)
    unet: Training = Training(steps=30000, batch=8, lr=8e-4, ema_decay=0.9995, save_every=1000)
    recon: Training = Training(steps=4000, lr=8e-4)


class Checkpoints(Section):
    ledger: str = "config/checkpoints.yaml"
    offline: bool = Field(True, description="never touch the network; missing files are an error")
    accept_licences: list[str] = Field(
        default_factory=list, description="non-permissive licences accepted by name"
    )


class Config(Section):
    """Everything a run depends on."""

    seed: int = 0
    pair: str = Field("demo (Wonder3D-style + LGM-style)", description="name of the pair in the tables")
    objects: Objects = Objects()
    render: Render = Render()
    checkpoints: Checkpoints = Checkpoints()
    mvg: Mvg = Mvg()
    recon: Recon = Recon()
    align: Align = Align()
    sample: Sample = Sample()
    evaluate: Evaluate = Evaluate()
    paper: Paper = Paper()
    pretrain: Pretrain = Pretrain()

    @model_validator(mode="after")
    def _runs_exist(self) -> Config:
        for name, method in self.sample.methods.items():
            if method.run is not None and method.run not in self.align.runs:
                raise ValueError(
                    f"sample.methods.{name}.run names {method.run!r}, which align.runs does not define"
                )
        return self

    @model_validator(mode="after")
    def _monitor_needs_no_normals(self) -> Config:
        if self.align.monitor_every and self.mvg.domains == "both":
            raise ValueError(
                f"align.monitor_every is {self.align.monitor_every}, and its distances need latents of true "
                "normals, which are not read: set it to 0, or mvg.domains to colours"
            )
        return self

    @cached_property
    def protocol(self) -> Protocol:
        """How evaluation objects are chosen, rendered and scored. UserError if its file is unusable."""
        return load_protocol(self.evaluate.protocol)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the sampling runs, which the protocol names."""
        return self.protocol.seeds

    def object_set(self, name: str) -> ObjectSet:
        """A set with what the protocol chooses filled in. Raises UserError if it is not defined."""
        if name not in self.objects.sets:
            known = ", ".join(sorted(self.objects.sets))
            raise UserError(f"the configuration has no object set {name!r}; it has {known}")
        chosen = self.protocol.objects.model_dump(include={"list", "split", "limit"})
        return self.objects.sets[name].model_copy(update=chosen if name == EVALUATION_SET else {})

    def for_set(self, name: str) -> Config:
        """This configuration with `render` as the set is rendered: by the protocol, if it is `eval`."""
        if name != EVALUATION_SET:
            return self
        return self.model_copy(update={"render": self.render.model_copy(update=dict(self.protocol.render))})

    def require_models_fit(self) -> None:
        """Raises UserError unless the protocol's views have the size and number that the models work with."""
        for key in ("size_px", "rig_views"):
            wanted, found = getattr(self.render, key), getattr(self.protocol.render, key)
            if wanted != found:
                raise UserError(
                    f"protocol {self.protocol.name} renders with {key} {found} and the models of this "
                    f"configuration work with render.{key} {wanted}; choose another evaluate.protocol or "
                    "other models"
                )


def parse_config(data: dict[str, Any], where: str) -> Config:
    """Validate a mapping. Raises UserError with one line for each wrong key."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise UserError(f"configuration {where} is not valid: {faults(error)}") from None


def load_config(path: Path | str | None = None) -> Config:
    """Read a YAML configuration; None reads config/config.yaml."""
    path = PROJECT_ROOT / "config/config.yaml" if path is None else Path(path)
    if not path.exists():
        raise UserError(f"no configuration at {path}; give --config with an existing YAML file")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict | None):
            raise ValueError(f"it holds one {type(data).__name__}, not keys and values")
    except (OSError, ValueError, yaml.YAMLError) as error:  # a folder, a picture, a plain text
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise UserError(f"configuration {path} is not YAML ({reason}); give --config a YAML file") from None
    return parse_config(data or {}, str(path))


def write_schema(path: Path | str) -> None:
    """Write the JSON schema that snakemake and editors validate against."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    write_text(path, json.dumps(schema, indent=1, sort_keys=True) + "\n")

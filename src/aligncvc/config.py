"""Typed configuration: one source for the YAML, its schema and every stage's settings.

Unknown keys are errors. Threads and memory are not here: they belong to `profiles/`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, write_text

Fraction = Field(ge=0, le=1)


class Section(BaseModel):
    """Base of every section: unknown keys are refused and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ObjectSet(Section):
    """Where one named set of 3D objects comes from."""

    source: Literal["bundled", "sweethome3d", "objaverse", "folder"] = "bundled"
    list: str | None = Field(None, description="TSV of objects (id, source, sha256, licence, creator, split)")
    split: Literal["train", "eval", "all"] = "all"
    limit: int | None = Field(None, ge=1, description="use only the first n objects of the list")
    path: str | None = Field(None, description="a folder of meshes (folder) or a .deb/URL (sweethome3d)")
    variants: int = Field(
        1, ge=1, description="looks that are rendered: the object's own, others with random colours and sizes"
    )


class Objects(Section):
    sets: dict[str, ObjectSet] = Field(
        default_factory=lambda: {
            "train": ObjectSet(list="config/objects/bundled.tsv", split="train"),
            "eval": ObjectSet(list="config/objects/bundled.tsv", split="eval"),
            "furniture": ObjectSet(source="sweethome3d", list="config/objects/furniture.tsv", variants=3),
        },
        description="named sets; `train` feeds alignment, `eval` is held out, `furniture` feeds pretraining",
    )


class Render(Section):
    """BlenderProc settings shared by every set."""

    size_px: int = Field(64, ge=16)
    elevation_deg: float = 10.0
    distance: float = Field(3.0, gt=0, description="camera distance; the object fits the unit sphere")
    fov_y_deg: float = Field(39.6, gt=0, lt=180)
    ring_views: int = Field(16, ge=4, description="evaluation ring, view 0 is the input view")
    rig_views: int = Field(4, ge=2, description="generator's rig, evenly spaced members of the ring")
    samples: int = Field(16, ge=1, description="Cycles samples a pixel, fixed (no adaptive sampling)")
    denoise: bool = False
    timeout_seconds: float = Field(120.0, gt=0, description="an object that takes longer is killed")
    max_failure_rate: float = Field(
        0.1, ge=0, le=1, description="the rule fails above this share of bad objects"
    )

    @model_validator(mode="after")
    def _rig_divides_ring(self) -> Render:
        if self.ring_views % self.rig_views:
            raise ValueError("rig_views must divide ring_views (the rig's views are members of the ring)")
        return self

    @property
    def rig_indices(self) -> list[int]:
        """Ring indices of the rig's views; the first is the input view."""
        return list(range(0, self.ring_views, self.ring_views // self.rig_views))


class Vae(Section):
    """AutoencoderKL: `len(channels) - 1` halvings from pixels to latents."""

    channels: list[int] = [24, 48, 96]
    layers: int = 1
    latent_channels: int = 4
    norm_groups: int = 8
    scaling_factor: float = Field(1.0, gt=0, description="latents = encoder mean x this; 0.18215 for SD 1.x")


class Unet(Section):
    """Wonder3D-style multi-view UNet2DConditionModel."""

    channels: list[int] = [64, 128]
    layers: int = 1
    head_channels: int = 64
    norm_groups: int = 16
    prediction: Literal["epsilon", "v_prediction"] = "v_prediction"


class Mvg(Section):
    """The multi-view generator (image -> V views)."""

    kind: str = Field("wonder3d-small", description="a key of aligncvc.mvg.GENERATORS")
    weights: str | None = Field("demo-teacher", description="ledger id; null starts from random weights")
    vae_weights: str | None = Field("demo-vae", description="ledger id; null starts from random weights")
    vae: Vae = Vae()
    unet: Unet = Unet()
    guidance_scale: float = Field(1.3, description="classifier-free guidance at sampling")


class Recon(Section):
    """The feed-forward reconstructor (V views -> Gaussians)."""

    kind: str = Field("lgm-small", description="a key of aligncvc.recon.RECONSTRUCTORS")
    weights: str | None = Field("demo-recon", description="ledger id; null starts from random weights")
    down_channels: list[int] = [32, 64, 128, 128]
    down_attention: list[bool] = [False, False, True, True]
    mid_attention: bool = True
    up_channels: list[int] = [128, 128, 64, 32]
    up_attention: list[bool] = [True, True, False, False]
    layers: int = 1
    heads: int = 2
    head: Literal["ray", "lgm"] = Field(
        "ray", description="how channels become Gaussians; lgm for its checkpoints"
    )


class Asd(Section):
    """Soft alignment: Asynchronous Score Distillation (arXiv 2407.02040)."""

    mode: Literal["asd", "official"] = Field(
        "asd", description="official: dt = 0 and guidance on both terms, whose gradient is zero"
    )
    t_min: float = Field(0.50, ge=0, le=1)
    t_max: float = Field(0.98, ge=0, le=1)
    eta: float = Field(0.1, ge=0)
    guidance_scale: float = 1.3
    dmd_normalise: bool = True


class Adversarial(Section):
    """Hard alignment: GAN heads on a frozen multi-level image encoder."""

    encoder: Literal["lite0"] = "lite0"
    hidden: int = 64
    lr: float = Field(2e-4, gt=0)
    label_smoothing: float = Field(
        0.8, gt=0, le=1, description="target for real images (multilevel sigmoid loss)"
    )
    augment: bool = True


class AlignRun(Section):
    """One alignment run: which losses are on."""

    soft: bool = True
    hard: bool = True


class Align(Section):
    """Post-training (DESIGN: the unrolled 3D-aware loop)."""

    steps: int = Field(40, ge=1)
    batch: int = Field(2, ge=1, description="objects a step")
    runs: dict[str, AlignRun] = Field(
        default_factory=lambda: {
            "soft": AlignRun(hard=False),
            "hard": AlignRun(soft=False),
            "both": AlignRun(),
        }
    )
    asd: Asd = Asd()
    gan: Adversarial = Adversarial()
    lambda_soft: float = Field(1e-3, ge=0, description="1e-3 puts the student's two gradients on a par")
    lambda_hard: float = Field(0.01, ge=0)
    lambda_recon: float = Field(1.0, ge=0, description="with hard: MSE + LPIPS of renderings to ground truth")
    lora_rank: int = Field(4, ge=1)
    lr_student: float = Field(2e-4, gt=0)
    lr_recon: float = Field(5e-5, gt=0)
    ema_decay: float = Field(0.9, ge=0, lt=1)
    save_every: int = Field(10, ge=1, description="steps between full resumable states")


class Method(Section):
    """One row of the tables."""

    sampler: Literal["two_stage", "aligncvc"] = "aligncvc"
    steps: int = Field(4, ge=1)
    run: str | None = Field(None, description="alignment run whose weights are used; null = pretrained")
    table: list[Literal["table1", "table2"]] = ["table1"]


class Sample(Section):
    timesteps: dict[int, list[int]] = Field(
        default_factory=lambda: {4: [999, 749, 599, 299]},
        description="3D-aware sampling: timesteps by K; other K are spaced evenly",
    )
    seeds: list[int] = [0]
    methods: dict[str, Method] = Field(
        default_factory=lambda: {
            "two_stage_50": Method(sampler="two_stage", steps=50),
            "two_stage_4": Method(sampler="two_stage", steps=4),
            "aware_4": Method(table=["table1", "table2"]),
            "soft_4": Method(run="soft", table=["table2"]),
            "hard_4": Method(run="hard", table=["table2"]),
            "aligncvc_4": Method(run="both", table=["table1", "table2"]),
        }
    )


class Evaluate(Section):
    background: float = Field(1.0, ge=0, le=1)
    lpips: Literal["alex"] = "alex"
    views: Literal["ring", "held_out"] = Field("ring", description="held_out leaves the rig's poses out")


class Paper(Section):
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
    unet: Training = Training(steps=12000, lr=8e-4, ema_decay=0.999, save_every=500)
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


def parse_config(data: dict[str, Any], where: str) -> Config:
    """Validate a mapping. Raises UserError with one line for each wrong key."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        lines = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'top level'}: {e['msg']}" for e in error.errors()
        )
        raise UserError(f"configuration {where} is not valid: {lines}") from None


def load_config(path: Path | str | None = None) -> Config:
    """Read a YAML configuration; None reads config/config.yaml."""
    path = PROJECT_ROOT / "config/config.yaml" if path is None else Path(path)
    if not path.exists():
        raise UserError(f"no configuration at {path}; give --config with an existing YAML file")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"configuration {path} is not YAML: {error}") from None
    return parse_config(data or {}, str(path))


def write_schema(path: Path | str) -> None:
    """Write the JSON schema that snakemake and editors validate against."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    write_text(path, json.dumps(schema, indent=1, sort_keys=True) + "\n")

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

from aligncvc.architectures import MVG_SIZES, RECON_SIZES, with_published_sizes
from aligncvc.config_align import Align
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, write_text
from aligncvc.protocols import Protocol, Rendering, Section, faults, load_protocol

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
    heads: int | None = Field(None, ge=1, description="heads at every level; null: channels / head_channels")
    attention: list[bool] | None = Field(
        None, description="levels with transformers, the finest first; null: all of them"
    )
    norm_groups: int = 16
    prediction: Literal["epsilon", "v_prediction"] = "v_prediction"
    cross_domain: bool = Field(
        False, description="a second attention in each transformer, between the normals and colours of a view"
    )

    @model_validator(mode="after")
    def _one_flag_a_level(self) -> Unet:
        if self.attention is not None and len(self.attention) != len(self.channels):
            raise ValueError(f"attention has {len(self.attention)} flags for {len(self.channels)} channels")
        return self


class Clip(Section):
    """CLIP's image tower, keys of transformers' CLIPVisionConfig; the defaults are ViT-L/14."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    patch_size: int = 14
    image_size: int = 224
    projection_dim: int = 768


class Mvg(Section):
    """The multi-view generator (image -> V views)."""

    kind: str = Field(
        "wonder3d-small",
        description="a key of aligncvc.mvg.GENERATORS; wonder3d-v1, wonder3d-plus: fixed sizes",
    )
    weights: str | None = Field("demo-teacher", description="ledger id; null starts from random weights")
    vae_weights: str | None = Field("demo-vae", description="ledger id; null starts from random weights")
    image_encoder_weights: str | None = Field(
        None,
        description="ledger id of clip's image tower; null starts from random weights (lite0 has its own)",
    )
    size_px: int | None = Field(None, ge=1, description="side of the generator's views; null: render.size_px")
    vae: Vae = Vae()
    unet: Unet = Unet()
    image_encoder: Literal["lite0", "clip"] = Field("lite0", description="where the image token comes from")
    clip: Clip = Clip()
    domains: Literal["colours", "both"] = Field(
        "colours", description="both: normals and colours, which see each other if unet.cross_domain"
    )
    colours_alone: Literal["self", "view_pairs"] = Field(
        "self",
        description="what cross-domain attention sees where there are colours only: the view itself, or "
        "views v and v + V/2, as in AlignCVC's release",
    )
    camera_dim: Literal[10, 14] = Field(
        14, description="length of the camera and task vector; 10 (Wonder3D v1) has no camera type"
    )
    camera_type: Literal["perspective", "orthographic"] | None = Field(
        None, description="type that the vector names; null: as the weights need, else perspective"
    )
    camera_table: Literal["computed", "wonder3d-v1", "wonder3d-plus", "aligncvc"] | None = Field(
        None,
        description="angles in the vector: of the cameras themselves; Wonder3D's labels of six views, which "
        "its weights were trained with; AlignCVC's absolute elevations; null: as the weights need, else "
        "computed",
    )
    guidance_scale: float = Field(1.3, description="classifier-free guidance at sampling")

    @model_validator(mode="before")
    @classmethod
    def _published_sizes(cls, data: Any) -> Any:
        return with_published_sizes(data, MVG_SIZES)

    @model_validator(mode="after")
    def _domains_exist(self) -> Mvg:
        if self.domains == "both" and self.colours_alone != "self":
            raise ValueError(
                "colours_alone says what happens without normals; leave it out with domains: both"
            )
        return self


class Recon(Section):
    """The feed-forward reconstructor (V views -> Gaussians)."""

    kind: str = Field(
        "lgm-small",
        description="a key of aligncvc.recon.RECONSTRUCTORS; lgm-big, lgm-official-small: fixed sizes",
    )
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
    size_px: int | None = Field(None, ge=1, description="side that views are resized to; null: as they come")
    rot_norm_dim: Literal[-1, 1] | None = Field(
        None,
        description="lgm head: quaternions are normalised one by one (-1), or over all Gaussians (1, LGM's "
        "first release); null: as the weights need",
    )
    world: Literal["ours", "y-up", "first-camera"] | None = Field(
        None,
        description="the world that rays and Gaussians of the network live in: ours, LGM's y-up one, or that "
        "turned so that the input camera looks along -z; null: as the weights need",
    )
    radius: float | None = Field(
        None, gt=0, description="distance of the input camera in that world; null: as the weights need"
    )
    ray_fov_y_deg: float | Literal["cameras"] | None = Field(
        None, description="vertical field of view of the rays; null: as the weights need"
    )
    projection_fov_y_deg: float | Literal["cameras"] | None = Field(
        None,
        description="field of view at which the network's Gaussians were drawn in its training, if not that "
        "of the rays; null: as the weights need",
    )

    @model_validator(mode="before")
    @classmethod
    def _published_sizes(cls, data: Any) -> Any:
        return with_published_sizes(data, RECON_SIZES)


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
            "two_stage_50": Method(sampler="two_stage", steps=50),
            "two_stage_4": Method(sampler="two_stage", steps=4),
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
    unet: Training = Training(steps=7500, lr=8e-4, ema_decay=0.999, save_every=500)
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
    except yaml.YAMLError as error:
        raise UserError(f"configuration {path} is not YAML: {error}") from None
    return parse_config(data or {}, str(path))


def write_schema(path: Path | str) -> None:
    """Write the JSON schema that snakemake and editors validate against."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    write_text(path, json.dumps(schema, indent=1, sort_keys=True) + "\n")

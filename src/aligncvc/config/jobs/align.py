"""Post-training: its section of the configuration (`align`), and what one run of one pair reads."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from aligncvc.config.jobs.base import NetworkJob
from aligncvc.models.specs import PairSpec
from aligncvc.section import Section

AsdMode = Literal["asd", "official", "fake_score"]


class Fake(Section):
    """The score of the student's samples, learned by a second LoRA (DMD2): of mode fake_score alone."""

    lr: float = Field(1e-4, gt=0, description="learning rate of the fake score's LoRA; constant")
    rank: int = Field(4, ge=1, description="rank of the fake score's LoRA")
    updates: int = Field(
        5, ge=1, description="of the fake score a step, each with new noise on the same samples; DMD2: 5"
    )


class Asd(Section):
    """Soft alignment: Asynchronous Score Distillation (arXiv 2407.02040)."""

    mode: AsdMode = Field(
        "asd",
        description="official: dt = 0 and guidance on both terms, whose gradient is zero; fake_score: the "
        "second term is a network trained on the student's samples (arXiv 2405.14867), not the teacher at "
        "the second timestep",
    )
    fake: Fake = Fake()
    t_min: float = Field(0.50, ge=0, le=1, description="smallest timestep, as a share of T")
    t_max: float = Field(0.98, ge=0, le=1, description="largest timestep, as a share of T")
    t_floor: float | None = Field(
        None, ge=0, le=1, description="where eta counts from, as a share of T; null: t_min"
    )
    eta: float = Field(0.1, ge=0, description="the second timestep is later by up to eta (t - t_floor T)")
    least_dt: int = Field(
        0,
        ge=0,
        description="the second timestep is later by at least this; with 0 some draws have no gradient",
    )
    guidance_scale: float = Field(1.0, description="the released configuration has 1.3: docs/lab-log.md")
    dmd_normalise: bool = Field(
        True, description="divide the gradient by the mean distance to the teacher's x0"
    )


GAN_LEVELS = {"lite0": 5, "clip": 3}
"""How many levels a discriminator's encoder has; a test compares this with the encoders."""


class Adversarial(Section):
    """Hard alignment: GAN heads on a frozen multi-level image encoder."""

    encoder: Literal["lite0", "clip"] = Field(
        "lite0",
        description="EfficientNet-Lite0 (bundled), or the paper's CLIP ViT-B/32 (ledger: clip-vit-b32)",
    )
    hidden: int = Field(64, description="channels of the heads on the frozen encoder")
    lr: float = Field(2e-4, gt=0, description="learning rate of the heads")
    label_smoothing: float = Field(
        0.8, gt=0, le=1, description="target for real images (multilevel sigmoid loss)"
    )
    augment: bool = Field(
        True,
        description="colour, translation and cutout before the encoder (DiffAugment), for both sides alike",
    )
    levels: list[int] | None = Field(
        None,
        min_length=1,
        description="the encoder's levels that have a head, null for all; lite0: 0 to 4, maps at strides 2 "
        "to 32; clip: 0 and 1, tokens after blocks 4 and 8, and 2, the image embedding",
    )
    r1: float = Field(
        0.0, ge=0, description="weight of the gradient penalty on real images, every fourth step"
    )
    warmup: int = Field(0, ge=0, description="first steps in which only the heads learn from the GAN")
    all_views: bool = Field(
        False, description="the heads judge all views of an object together, not each by itself"
    )
    sees_input: bool = Field(False, description="the heads are shown the input image beside what they judge")

    @property
    def of_objects(self) -> bool:
        """Whether images of one object are judged beside each other, and so augmented alike."""
        return self.all_views or self.sees_input

    @model_validator(mode="after")
    def _levels_exist_once(self) -> Adversarial:
        levels, count = self.levels or [], GAN_LEVELS[self.encoder]
        if unknown := [level for level in levels if not 0 <= level < count]:
            raise ValueError(
                f"levels {unknown} do not exist in the encoder {self.encoder}, which has 0 to {count - 1}; "
                "choose among those, or null for all"
            )
        if len(set(levels)) < len(levels):
            raise ValueError(f"levels {levels} names a level twice; list each once")
        return self


class AlignRun(Section):
    """Which losses an alignment run has."""

    soft: bool = Field(True, description="ASD on the student's latents")
    hard: bool = Field(True, description="GAN and reconstruction loss on the renderings")
    gan: bool = Field(True, description="hard alignment's first part; without it `recon only` in tables")
    recon: bool = Field(True, description="hard alignment's second part; without it `gan only` in tables")
    regression: bool = Field(
        False, description="the foil: reconstruction loss of views and of renderings, no ASD, no GAN"
    )
    asd_mode: AsdMode | None = Field(None, description="overrides align.asd.mode")
    steps: int | None = Field(None, ge=1, description="overrides align.steps")
    seed: int | None = Field(
        None,
        ge=0,
        description="overrides the configuration's seed: the same losses once more, by other chance",
    )

    @model_validator(mode="after")
    def _sensible(self) -> AlignRun:
        if self.regression and (self.soft or self.hard):
            raise ValueError(
                "regression is an alternative to soft and hard alignment: set soft and hard to false with it"
            )
        if not (self.soft or self.hard or self.regression):
            raise ValueError("the run has neither soft nor hard alignment nor regression: switch one on")
        if not (self.gan and self.recon) and not self.hard:
            raise ValueError("gan and recon are parts of hard alignment, which is off: leave them out")
        if not (self.gan or self.recon):
            raise ValueError("hard alignment has neither gan nor recon: set hard to false instead")
        if self.asd_mode is not None and not self.soft:
            raise ValueError(
                "asd_mode belongs to soft alignment, which is off: switch that on or leave it out"
            )
        return self

    @property
    def adversarial(self) -> bool:
        """Whether there is a discriminator."""
        return self.hard and self.gan

    @property
    def compared_with_truth(self) -> bool:
        """Whether renderings are compared with ground truth."""
        return self.regression or (self.hard and self.recon)

    @property
    def alignment(self) -> str:
        """What tables call it: soft, hard, both, regression, gan only or recon only (hard alignment's parts);
        soft alone by another mode of ASD has its name.
        """
        if self.regression:
            return "regression"
        if self.asd_mode in ("official", "fake_score") and not self.hard:
            return self.asd_mode.replace("_", " ")
        if self.soft or not self.hard:
            return "both" if self.hard else "soft"
        return "hard" if self.gan and self.recon else "gan only" if self.gan else "recon only"

    @property
    def losses(self) -> tuple[bool | str | None, ...]:
        """What tells runs apart, whatever their length."""
        return self.soft, self.adversarial, self.compared_with_truth, self.regression, self.asd_mode


TRACKER = r"^(tensorboard|wandb|[^.\s]+(\.[^.\s]+)+)$"


class Training(Section):
    """The knobs of post-training: the unrolled loop and its losses."""

    steps: int = Field(8, ge=1, description="optimiser steps")
    batch: int = Field(2, ge=1, description="objects a step")
    unrolled: Literal["drawn", "stratified"] = Field(
        "drawn",
        description="which sampling step has a gradient: drawn each time, or each of the K once in K steps",
    )
    asd: Asd = Asd()
    gan: Adversarial = Adversarial()
    lambda_soft: float = Field(0.02, ge=0, description="0.02 puts the student's two gradients on a par")
    lambda_hard: float = Field(0.01, ge=0, description="weight of the discriminator's loss")
    lambda_recon: float = Field(
        1.0, ge=0, description="MSE + LPIPS to ground truth: of renderings (hard), of views too (regression)"
    )
    mse_weight: float = Field(
        10.0, ge=0, description="of the MSE in the reconstruction loss, where LPIPS, a larger number, has 1"
    )
    foreground_weight: float = Field(
        1.0, ge=0, description="added to the MSE's weight where ground truth shows the object"
    )
    alpha_weight: float = Field(
        0.0,
        ge=0,
        description="of the MSE of the renderings' alpha in the reconstruction loss; 1 in pretraining",
    )
    novel_views: int = Field(
        4, ge=0, description="ring views beside the rig that the reconstruction loss compares renderings at"
    )
    lora_rank: int = Field(4, ge=1, description="rank of the student's LoRA")
    lr_student: float = Field(5e-4, gt=0, description="learning rate of the student's LoRA")
    lr_recon: float = Field(1e-4, gt=0, description="learning rate of the reconstructor")
    warmup_steps: int = Field(0, ge=0, description="steps in which both learning rates rise to their values")
    lr_final: float = Field(
        1.0, ge=0, le=1, description="share of the learning rates that a cosine ends at; 1 keeps them"
    )
    ema_decay: float = Field(
        0.9, ge=0, lt=1, description="of the moving average of the weights, which is what is saved"
    )
    bf16: bool | None = Field(
        None,
        description="bfloat16 where accelerate allows it; null: as `accelerate launch --mixed_precision` "
        "says, else float32; on processors without bfloat16 slower, not faster",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="keep no activations inside the networks' blocks and compute them once more in the "
        "backward pass: less memory, more time, the same gradients",
    )
    save_every: int = Field(10, ge=1, description="steps between full resumable states")
    monitor_every: int = Field(
        0,
        ge=0,
        description="steps between student-teacher distances on a fixed batch; 0: never, which "
        "domains: both of the generator needs",
    )
    trackers: list[Annotated[str, Field(pattern=TRACKER)]] = Field(
        default_factory=list,
        description="who follows the numbers beside metrics.jsonl: tensorboard, wandb (offline unless "
        "WANDB_MODE says otherwise), or the dotted name of an accelerate GeneralTracker; they write to "
        "trackers/ of the run",
    )


class Align(Training):
    """Post-training."""

    threads: int = Field(1, ge=1, description="cores of a training job at most, as in sample")
    runs: dict[str, AlignRun] = Field(
        default_factory=lambda: {
            "soft": AlignRun(hard=False),
            "hard": AlignRun(soft=False),
            "both": AlignRun(),
            "aligned": AlignRun(),
        },
        description="by name: which losses; `pairs` says which runs ship with the repository",
    )

    @model_validator(mode="after")
    def _regression_has_a_weight(self) -> Align:
        if self.lambda_recon == 0:
            for name, run in self.runs.items():
                if run.regression:
                    raise ValueError(f"runs.{name} is regression, whose weight lambda_recon is 0: raise it")
        return self

    @model_validator(mode="after")
    def _fake_score_has_a_weight(self) -> Align:
        for name, run in self.runs.items() if self.lambda_soft == 0 else ():
            if run.soft and (run.asd_mode or self.asd.mode) == "fake_score":
                raise ValueError(
                    f"runs.{name} trains a fake score, and lambda_soft is 0, so that no one would learn from "
                    "it: raise that, or choose another asd_mode"
                )
        return self


class AlignJob(NetworkJob):
    """run: its name; losses: which are on; training: the knobs; feedback, timesteps: of the unrolled loop."""

    aside: ClassVar[dict[str, Any]] = {"training": {"trackers"}}

    pair: PairSpec
    run: str
    losses: AlignRun
    training: Training
    feedback: str = "aligncvc"
    timesteps: list[int]

"""Pretraining: its section of the configuration, and what one network's job reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aligncvc.config.jobs.base import NetworkJob
from aligncvc.models.specs import ModelSpec, PairSpec
from aligncvc.scene.rigs import Rig
from aligncvc.section import Section

Part = Literal["vae", "unet", "maps", "recon"]
"""What is trained: the autoencoder that all generators share, a generator's denoiser, what tells a frozen
denoiser of a 3D model, or a reconstructor."""
VAE = "vae"
"""The autoencoder's name where models are named by their entry in the ledger."""


class Training(Section):
    """How one network is pretrained: AdamW, warm-up, plateau, cosine."""

    steps: int = Field(3000, ge=1, description="optimiser steps")
    batch: int = Field(4, ge=1, description="objects a step (single views for the VAE)")
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    ema_decay: float = Field(
        0.998, ge=0, lt=1, description="of the moving average of the weights, which is what is saved"
    )
    save_every: int = Field(250, ge=1, description="steps between resumable states and held-out scores")
    bf16: bool = Field(True, description="bfloat16 autocast of the network")


class Pretrain(Section):
    """`snakemake pretrain`: the networks of all pairs, from renders of one set or of several."""

    sets: list[str] = Field(
        ["furniture"], min_length=1, description="the sets of objects.sets that the networks are trained on"
    )
    models: list[str] | None = Field(
        None,
        min_length=1,
        description="what is trained: `vae`, and generators and reconstructors of the pairs; null: all. "
        "The others keep the weights of the ledger",
    )
    start_from: dict[str, str] = Field(
        {},
        description="by model, the ledger id of weights that it begins with: tensors of the same name and "
        "shape are taken, the others start anew",
    )
    vae: Training = Training(steps=2000, batch=16)
    unet: Training = Training(steps=30000, batch=8, lr=8e-4, ema_decay=0.9995, save_every=1000)
    """Of every generator's denoiser."""
    maps: Training = Training(steps=3000, lr=1e-3)
    """Of what tells a generator with a frozen denoiser of a 3D model."""
    recon: Training = Training(steps=4000, lr=8e-4)
    """Of every reconstructor."""


class PretrainJob(NetworkJob):
    """part: what is trained; model: the generator (vae, unet, maps) or reconstructor (recon).

    generator: for a reconstructor, the one whose views it is to expect. pair: for maps, whose 3D models they
    are of. Weights that they name are those of parts that are not trained. object_lists: TSVs with the split.
    rig: where the generator's views stand. size_px: of the renders. guidance: of generated views. start_from:
    ledger id of the weights to begin with.
    """

    part: Part
    model: ModelSpec
    generator: ModelSpec | None = None
    pair: PairSpec | None = None
    training: Training
    object_lists: list[str]
    rig: Rig
    size_px: int
    guidance: float = 1.0
    start_from: str | None = None

    @property
    def name(self) -> str:
        """Of the model, as the workflow's files have it."""
        return VAE if self.part == VAE else self.model.id or self.model.kind

"""Pretraining: its section of the configuration, and what one network's job reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aligncvc.config.jobs.base import NetworkJob
from aligncvc.models.specs import ModelSpec
from aligncvc.scene.rigs import Rig
from aligncvc.section import Section

Network = Literal["vae", "unet", "recon"]
"""What `snakemake pretrain` trains, in an order in which each finds what it needs."""


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
    """`snakemake pretrain`: the demo's networks from renders of the furniture package, or of several sets."""

    sets: list[str] = Field(
        ["furniture"], min_length=1, description="the sets of objects.sets that the networks are trained on"
    )
    vae: Training = Training(steps=2000, batch=16)
    unet: Training = Training(steps=30000, batch=8, lr=8e-4, ema_decay=0.9995, save_every=1000)
    recon: Training = Training(steps=4000, lr=8e-4)


class PretrainJob(NetworkJob):
    """model: the generator (vae, unet) or reconstructor (recon), without weights. object_lists: TSVs with
    the split. rig: where the generator's views stand. size_px: of the renders. guidance: of held-out samples.
    """

    network: Network
    model: ModelSpec
    training: Training
    object_lists: list[str]
    rig: Rig
    size_px: int
    guidance: float = 1.0

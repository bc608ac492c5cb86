"""What pretraining one network of the demo reads."""

from __future__ import annotations

from typing import Literal

from aligncvc.config.jobs.base import NetworkJob
from aligncvc.config.pretrain import Training
from aligncvc.models.specs import ModelSpec
from aligncvc.scene.rigs import Rig


class PretrainJob(NetworkJob):
    """network: which; model: the generator (vae, unet) or reconstructor (recon) of it, without weights.

    object_list: TSV with the split. rig: where the generator's views stand. size_px: of the renders.
    guidance: of held-out samples.
    """

    network: Literal["vae", "unet", "recon"]
    model: ModelSpec
    training: Training
    object_list: str
    rig: Rig
    size_px: int
    guidance: float = 1.0

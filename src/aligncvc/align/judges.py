"""The discriminator that a configuration describes: which frozen encoder its heads read."""

from __future__ import annotations

from aligncvc.align.adversarial import Discriminator
from aligncvc.config.sections import Config
from aligncvc.models.encoders.clip import load_clip
from aligncvc.models.encoders.clip_levels import ClipLevels
from aligncvc.models.encoders.levels import LevelEncoder
from aligncvc.models.encoders.lite0 import load_lite0


def load_discriminator(config: Config) -> Discriminator:
    """Hard alignment's discriminator, its heads new from the configuration's seed, on the CPU.

    Raises UserError if the encoder's weights are missing or wrong.
    """
    gan = config.align.gan
    return Discriminator(load_encoder(config), gan.hidden, config.seed, levels=gan.levels)


def load_encoder(config: Config) -> LevelEncoder:
    """What `align.gan.encoder` names: EfficientNet-Lite0 (bundled) or CLIP ViT-B/32 (from the ledger)."""
    if config.align.gan.encoder == "lite0":
        return load_lite0()
    checkpoints = config.checkpoints
    clip = load_clip(
        ledger=checkpoints.ledger,
        offline=checkpoints.offline,
        accept_licences=tuple(checkpoints.accept_licences),
    )
    return ClipLevels(clip)

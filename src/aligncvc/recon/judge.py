"""The pretrained reconstructor alone, as the measure of an evaluation."""

from __future__ import annotations

from torch import nn

from aligncvc.checkpoints import load_checkpoint, settled
from aligncvc.config import Config
from aligncvc.recon import build_reconstructor
from aligncvc.streams import seeded


def load_judge(config: Config) -> nn.Module:
    """The configured reconstructor before any alignment, frozen: the same measure for every method.

    A null weights id gives random weights from the configuration's seed. UserError if there are none.
    """
    config = settled(config, ["recon"])
    reconstructor = seeded(lambda: build_reconstructor(config.recon), config.seed, "recon", "init")
    if config.recon.weights is not None:
        load_checkpoint(
            reconstructor,
            config.recon.weights,
            ledger=config.checkpoints.ledger,
            offline=config.checkpoints.offline,
            accept_licences=tuple(config.checkpoints.accept_licences),
        )
    return reconstructor.requires_grad_(False).eval()

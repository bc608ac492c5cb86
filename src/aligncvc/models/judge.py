"""The pretrained reconstructor alone, as the measure of an evaluation."""

from __future__ import annotations

from torch import nn

from aligncvc.config.sections import Config
from aligncvc.models.ledger import check_settings, load_checkpoint, resolve, settled
from aligncvc.models.reconstructors import build_reconstructor
from aligncvc.streams import seeded


def load_judge(config: Config) -> nn.Module:
    """The configured reconstructor before any alignment, frozen: the same measure for every method.

    A null weights id gives random weights from the configuration's seed. Raises UserError if the file is
    missing, says that it was made with other settings, or does not fit.
    """
    config = settled(config, ["recon"])
    reconstructor = seeded(lambda: build_reconstructor(config.recon), config.seed, "recon", "init")
    if config.recon.weights is not None:
        ledger, offline = config.checkpoints.ledger, config.checkpoints.offline
        accepted = tuple(config.checkpoints.accept_licences)
        name = config.recon.weights
        path = resolve(name, ledger=ledger, offline=offline, accept_licences=accepted)
        check_settings(path, config, "recon")
        load_checkpoint(reconstructor, name, ledger=ledger, offline=offline, accept_licences=accepted)
    return reconstructor.requires_grad_(False).eval()

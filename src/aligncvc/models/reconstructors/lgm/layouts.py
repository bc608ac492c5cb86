"""How releases of the LGM family name their tensors, where not as we do (the ledger's `stored`)."""

from __future__ import annotations

from torch import Tensor

_GEN3DIFFUSION = {
    "time_embedding": "time_embed",
    "linear_1": "0",
    "linear_2": "2",
    "time_emb_proj": "emb_layers.1",
}


def gen3diffusion(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gen-3Diffusion's 3D network, without the LPIPS network that its class keeps for training."""
    return {
        ".".join(_GEN3DIFFUSION.get(part, part) for part in key.split(".")): value
        for key, value in state.items()
        if not key.startswith("lpips_loss.")
    }

"""The cases in which SV3D is compared with its official code, and what ours yields in them.

Weights are those of one released file, filled by formula under the official names; ours come through
`sv3d.released`. Frames are in the official order here: `frames` and `views` write it out once more, so that a
wrong order in our code cannot hide behind itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from parity_tools import DATA, fill, numbers
from torch import Tensor

from aligncvc.models.generators.parts import Clip, Vae, VideoUnet
from aligncvc.models.generators.sv3d import released
from aligncvc.models.generators.sv3d.network import SV3D, Condition
from aligncvc.models.generators.sv3d.settings import PRESETS, Settings
from aligncvc.models.ledger.weights import load_strict
from aligncvc.scene.cameras import orbit, ring_azimuths_deg

VECTOR_DIMS = {"p": 1280, "u": 256}
WIDTH, HEAD_CHANNELS, TOKEN_DIM, CLIP_DIM, CLIP_PX = 32, 16, 24, 32, 224
CHANNELS = [WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH]
SIZE_PX, SIDE = 128, 16
FAINT = 0.3
"""Strength at which activations are so small that what norms add to the variance shows."""

SIGMAS = (300.0, 0.7)
STEPS, LARGEST, VIEWS, ELEVATIONS = 3, 2.5, 5, (10.0, -5.0, 0.0, 20.0, 30.0)

PARTS = {
    "unet": "model.diffusion_model.",
    "image encoder": "conditioner.embedders.0.open_clip.model.visual.",
    "autoencoder": "conditioner.embedders.1.encoder.",
    "decoder": "first_stage_model.decoder.",
}
"""Part -> prefix of its tensors in the released file."""


def unet_options(variant: str, width: int = 320, head: int = 64, token: int = 1024) -> dict[str, Any]:
    """What the official class is built with; the published sizes, or others."""
    return {
        "adm_in_channels": VECTOR_DIMS[variant], "num_classes": "sequential", "in_channels": 8,
        "out_channels": 4, "model_channels": width, "attention_resolutions": [4, 2, 1], "num_res_blocks": 2,
        "channel_mult": [1, 2, 4, 4], "num_head_channels": head, "use_linear_in_transformer": True,
        "transformer_depth": 1, "context_dim": token, "spatial_transformer_attn_type": "softmax",
        "extra_ff_mix_layer": True, "use_spatial_context": True, "merge_strategy": "learned_with_images",
        "video_kernel_size": [3, 1, 1],
    }  # fmt: skip


def vae_options(width: int = 128) -> dict[str, Any]:
    return {
        "attn_type": "vanilla", "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3,
        "out_ch": 3, "ch": width, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [],
        "dropout": 0.0,
    }  # fmt: skip


def clip_options(
    width: int = 1280, layers: int = 32, heads: int = 16, patch: int = 14, out: int = 1024
) -> dict[str, Any]:
    return {
        "image_size": CLIP_PX, "patch_size": patch, "width": width, "layers": layers, "heads": heads,
        "mlp_ratio": 4.0, "output_dim": out,
    }  # fmt: skip


REDUCED_CLIP = {"width": CLIP_DIM, "layers": 2, "heads": 2, "patch": 56, "out": TOKEN_DIM}


def reduced(variant: str, **changes: Any) -> Settings:
    """SV3D at a small width and its full depth."""
    return Settings(
        size_px=SIZE_PX,
        vae=Vae(channels=CHANNELS, layers=2, norm_groups=32, scaling_factor=0.18215, post_quant_conv=False),
        unet=VideoUnet(channels=CHANNELS, layers=2, head_channels=HEAD_CHANNELS,
                       attention=[True, True, True, False], **changes),
        image_encoder="clip",
        clip=Clip(hidden_size=CLIP_DIM, intermediate_size=4 * CLIP_DIM, num_hidden_layers=2,
                  num_attention_heads=2, patch_size=56, image_size=CLIP_PX, projection_dim=TOKEN_DIM,
                  hidden_act="gelu"),
        told="angles" if variant == "p" else "nothing",
    )  # fmt: skip


def published(variant: str) -> Settings:
    return Settings.model_validate(PRESETS[variant])


def key_list(name: str) -> dict[str, list[int]]:
    """Keys and shapes of an official file: `p`, `u`, `reduced p` or `reduced u`."""
    lists = json.loads((DATA / "sv3d_keys.json").read_text())
    return lists[name[:-1] + "p"] | (lists[name] if name.endswith("u") else {})


def filled(keys: Mapping[str, list[int]], strength: float = 1.0) -> dict[str, Tensor]:
    """The released file of these keys and shapes, each tensor by its own name; kernels times strength."""
    state = {key: torch.empty(shape) for key, shape in keys.items()}
    fill(SimpleNamespace(named_parameters=state.items))  # type: ignore[arg-type]
    return {key: strength * value if value.dim() > 1 else value for key, value in state.items()}


def ours(config: Settings, state: dict[str, Tensor]) -> SV3D:
    """Our generator with the weights of a released file, by the functions that the ledger names."""
    generator = SV3D(config, SIZE_PX).eval().requires_grad_(False)
    parts = {"unet": released.unet, "vae": released.vae, "image_encoder": released.image_encoder}
    for name, module in generator.parts().items():
        load_strict(module, parts[name](state))
    return generator


def frames(x: Tensor) -> Tensor:
    """(B, V, ...) views -> frames: the input view, our first, is the last."""
    return torch.cat([x[:, 1:], x[:, :1]], 1)


def views(x: Tensor) -> Tensor:
    """(B, V, ...) frames -> views."""
    return torch.cat([x[:, -1:], x[:, :-1]], 1)


def call(variant: str, batch: int = 2, count: int = 3, side: int = SIDE, token: int = TOKEN_DIM) -> tuple:
    """(c_in z, ln(sigma) / 4, condition) of a call of the U-Net, in the order of frames, by formula."""
    condition = Condition(
        numbers("sv3d token", (batch, 1, token)),
        numbers("sv3d condition", (batch, 4, side, side)),
        numbers("sv3d vector", (batch, count, VECTOR_DIMS[variant])),
    )
    return numbers("sv3d z", (batch, count, 4, side, side)), torch.tensor(SIGMAS[:batch]).log() / 4, condition


def our_output(generator: SV3D, scaled: Tensor, times: Tensor, condition: Condition) -> Tensor:
    """F (B, V, 4, h, w) in the order of frames; scaled: c_in z."""
    grown = scaled * ((8 * times).exp() + 1).sqrt().view(-1, 1, 1, 1, 1)
    told = Condition(condition.tokens, condition.latents, views(condition.vectors))
    with torch.no_grad():
        return frames(generator.raw_prediction(views(grown), times, told))


def image(size_px: int = SIZE_PX) -> Tensor:
    """(1, 3, H, W) in [0, 1]."""
    return (numbers("sv3d image", (1, 3, size_px, size_px)) / 12**0.5 + 0.5).clamp(0, 1)


def turn(elevations: Sequence[float]) -> Tensor:
    """(1, V, 4, 4) c2w of an even turn; elevations in degrees, in the order of frames."""
    azimuths = ring_azimuths_deg(len(elevations))
    own = [elevations[-1], *elevations[:-1]]
    return orbit(azimuths, own, distance=3, fov_y_deg=33.8, size_px=SIZE_PX).c2w[None]


def start_noise() -> Tensor:
    """(1, V, 4, h, w) in the order of frames."""
    return numbers("sv3d start", (1, VIEWS, 4, SIDE, SIDE))


def our_samples(generator: SV3D) -> Tensor:
    """Clean latents (1, V, 4, h, w), scaled, in the order of frames, after STEPS Euler steps."""
    schedule = generator.schedule
    times = [torch.tensor([t], dtype=schedule.dtype) for t in schedule.times(STEPS)]
    with torch.no_grad():
        condition = generator.encode_condition(image(), turn(ELEVATIONS))
        z = schedule.start(views(start_noise()), float(times[0]))
        for now, following in zip(times, [*times[1:], None], strict=True):
            found = generator.predict(z, now, condition, LARGEST)
            z = schedule.step(z, found.x0, found.eps, now, following)
    return frames(z)

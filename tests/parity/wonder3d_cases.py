"""The cases in which Wonder3D is compared with its official code, and what ours yields in them.

The official networks take rows, ours takes objects: `rows` is the documented order written out once more, so
that a wrong order in our code cannot hide behind itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from parity_tools import fill, numbers
from torch import Tensor, nn
from wonder3d_ddim import rig_azimuths_deg, same_noise, sample_ddim

from aligncvc.models.generators.parts import Clip, Vae
from aligncvc.models.generators.wonder3d.network import Condition, Wonder3D
from aligncvc.models.generators.wonder3d.settings import PRESETS, Settings, Unet
from aligncvc.scene.cameras import orbit

DIMS = {"wonder3d-v1": 10, "wonder3d-plus": 14}
CHANNELS, HEADS, GROUPS, TOKEN_DIM = (16, 32, 32, 32), 2, 8, 24
SIDE, SIZE_PX = 8, 64
ATTENTIONS = {"multi-view": "attn1", "cross-domain": "attn_joint_mid", "image token": "attn2"}
PROBED = "down_blocks.1.attentions.0.transformer_blocks.0"
"""The block whose attentions are looked at one by one; at 4 x 4 latents, so views and tokens both matter."""
TIMESTEPS = (601, 33)
STEPS, GUIDANCE = 3, {"wonder3d-v1": 3.0, "wonder3d-plus": 2.0}


def reduced(version: str, domains: str = "both", cross_domain: bool = True, alone: str = "self") -> Settings:
    """Wonder3D at a small width: every kind of block, both domains."""
    return Settings(
        vae=Vae(channels=[8, 16, 16, 16], layers=1, norm_groups=4, scaling_factor=0.18215),
        unet=Unet(
            channels=list(CHANNELS), attention=[True, True, True, False], layers=2, heads=HEADS,
            norm_groups=GROUPS, prediction="epsilon", cross_domain=cross_domain,
        ),
        image_encoder="clip",
        clip=Clip(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, patch_size=16,
            image_size=SIZE_PX, projection_dim=TOKEN_DIM,
        ),
        size_px=SIZE_PX, domains=domains, colours_alone=alone, camera_dim=DIMS[version],
        camera_table=version, camera_type="orthographic",
    )  # fmt: skip


def published(version: str, **changes: object) -> Settings:
    """The released sizes."""
    return Settings.model_validate({**PRESETS[version.removeprefix("wonder3d-")], **changes})


def ours(config: Settings) -> Wonder3D:
    """Our generator, filled by formula."""
    generator = Wonder3D(config, SIZE_PX).eval().requires_grad_(False)
    for part in (generator.unet, generator.vae, generator.image_encoder):
        fill(part)
    return generator


def reference_options(
    version: str, views: int, cross_domain: bool = True, full: bool = False
) -> dict[str, Any]:
    """What the official class is built with."""
    unet = published(version).unet
    channels, heads, groups, token = (
        (tuple(unet.channels), unet.heads, unet.norm_groups, 768)
        if full
        else (CHANNELS, HEADS, GROUPS, TOKEN_DIM)
    )
    return {
        "sample_size": 32 if full else SIDE,
        "in_channels": 8,
        "out_channels": 4,
        "block_out_channels": channels,
        "norm_num_groups": groups,
        "attention_head_dim": heads,
        "cross_attention_dim": token,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": DIMS[version],
        "num_views": views,
        "cd_attention_mid": cross_domain,
    }


def inputs(
    version: str, batch: int, views: int, domains: int, side: int = SIDE, token: int = TOKEN_DIM
) -> tuple:
    """(z, timesteps, condition) of one call of our generator, by formula."""
    z = numbers(f"{version} z", (batch, views, domains * 4, side, side))
    condition = Condition(
        numbers(f"{version} token", (batch, 1, token)),
        numbers(f"{version} condition", (batch, 4, side, side)),
        numbers(f"{version} camera", (batch, views, domains * DIMS[version])),
    )
    return z, torch.tensor([*TIMESTEPS, 999][:batch]), condition


def rows(x: Tensor, domains: int) -> Tensor:
    """(B, V, D C, ...) -> all normals of all objects' views, then all colours."""
    return torch.cat([half.flatten(0, 1) for half in x.chunk(domains, dim=2)])


def reference_call(
    z: Tensor, timesteps: Tensor, condition: Condition, domains: int
) -> tuple[tuple, dict[str, Any]]:
    """The official U-Net's arguments for the same call."""
    views = z.shape[1]

    def per_row(x: Tensor) -> Tensor:
        return torch.cat([x.repeat_interleave(views, 0)] * domains)

    sample = torch.cat([rows(z, domains), per_row(condition.latents)], 1)
    return (sample, per_row(timesteps)), {
        "encoder_hidden_states": per_row(condition.tokens),
        "class_labels": rows(condition.cameras, domains),
    }


@contextmanager
def attention_outputs(unet: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Inside, each call leaves what the attentions of the probed block gave, (rows, T, C)."""
    block, seen = unet.get_submodule(PROBED), {}
    handles = [
        getattr(block, attribute).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.__setitem__(name, output)
        )
        for name, attribute in ATTENTIONS.items()
        if hasattr(block, attribute)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def image() -> Tensor:
    """(3, H, W) in [0, 1] of whole 8-bit steps: at CLIP's own size, so that no resizing comes in between."""
    unit = numbers("wonder3d image", (3, SIZE_PX, SIZE_PX)) / 12**0.5 + 0.5
    return (unit * 255).round().clamp(0, 255) / 255


def rig_cameras(views: int = 6) -> Tensor:
    """(V, 4, 4) of Wonder3D's rig, level, the input view first."""
    return orbit(rig_azimuths_deg(views), 0, distance=2, fov_y_deg=40, size_px=SIZE_PX).c2w


def start_noise(version: str, views: int) -> Tensor:
    """(1, V, D C, h, w); ++ starts both domains from the same noise."""
    if version == "wonder3d-plus":
        return same_noise(numbers("plus start", (1, views, 4, SIDE, SIDE)), 2)
    return numbers("v1 start", (1, views, 8, SIDE, SIDE))


def step_noise(step: int, views: int) -> Tensor:
    """(1, V, D C, h, w): the fresh noise of a DDIM step."""
    return numbers(f"wonder3d step {step}", (1, views, 8, SIDE, SIDE))


def our_samples(generator: Wonder3D, version: str, views: int = 6) -> Tensor:
    """(D V, C, h, w): clean latents of Wonder3D's own sampling from the image, in the official row order."""
    condition = generator.encode_condition(image()[None], rig_cameras(views)[None])
    z = sample_ddim(
        generator, condition, start_noise(version, views), STEPS, GUIDANCE[version],
        noise=lambda step: step_noise(step, views),
    )  # fmt: skip
    return rows(z, 2)

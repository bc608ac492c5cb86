"""Published sizes of networks that a configuration names by `kind`, as plain numbers (no import of torch).

A kind that stands here fixes the sizes: keys that a configuration leaves out are filled in, and one that
says something else is an error. Other kinds take their sizes from the configuration alone.
"""

from __future__ import annotations

from typing import Any

_LGM: dict[str, Any] = {
    "down_channels": [64, 128, 256, 512, 1024, 1024],
    "down_attention": [False, False, False, True, True, True],
    "mid_attention": True,
    "layers": 2,
    "heads": 16,
    "head": "lgm",
    "size_px": 256,
}

RECON_SIZES: dict[str, dict[str, Any]] = {
    "lgm-big": {
        **_LGM,
        "up_channels": [1024, 1024, 512, 256, 128],
        "up_attention": [True, True, True, False, False],
    },
    "lgm-official-small": {
        **_LGM,
        "up_channels": [1024, 1024, 512, 256],
        "up_attention": [True, True, True, False],
    },
}
"""LGM's two released shapes (github 3DTopia/LGM, core/options.py `big` and `small`): 415.04 M and 412.96 M
parameters, 128 x 128 and 64 x 64 Gaussians a view of 256 x 256 pixels."""

_WONDER3D: dict[str, Any] = {
    "size_px": 256,
    "image_encoder": "clip",
    "vae": {
        "channels": [128, 256, 512, 512],
        "layers": 2,
        "latent_channels": 4,
        "norm_groups": 32,
        "scaling_factor": 0.18215,
    },
    "unet": {
        "channels": [320, 640, 1280, 1280],
        "attention": [True, True, True, False],
        "layers": 2,
        "heads": 8,
        "norm_groups": 32,
        "prediction": "epsilon",
        "cross_domain": True,
    },
    "clip": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 224,
        "projection_dim": 768,
    },
}

MVG_SIZES: dict[str, dict[str, Any]] = {
    "wonder3d-v1": {**_WONDER3D, "camera_dim": 10},
    "wonder3d-plus": {**_WONDER3D, "camera_dim": 14},
}
"""Wonder3D v1 and Wonder3D++ (github xxlong0/Wonder3D, branches main and Wonder3D_Plus): Stable Diffusion 1.x
with eight input channels, cross-domain attention and a camera projection, 910.79 M parameters, beside its VAE
and CLIP ViT-L/14's image tower."""


def with_published_sizes(data: Any, sizes: dict[str, dict[str, Any]]) -> Any:
    """A section's raw mapping with the sizes of its kind filled in; anything else comes back unchanged.

    Raises ValueError if the mapping contradicts the kind.
    """
    if not isinstance(data, dict) or data.get("kind") not in sizes:
        return data
    return _filled(data, sizes[data["kind"]], f"kind {data['kind']!r}", "")


def _filled(data: dict[str, Any], published: dict[str, Any], kind: str, section: str) -> dict[str, Any]:
    """Both mappings in one, sections within them too."""
    result = {**published, **data}
    for key, value in published.items():
        given = data.get(key, value)
        if isinstance(value, dict):
            given = given.model_dump(exclude_unset=True) if hasattr(given, "model_dump") else given
            result[key] = (
                _filled(given, value, kind, f"{section}{key}.") if isinstance(given, dict) else given
            )
        elif given != value:
            raise ValueError(
                f"{kind} is published with {section}{key} {value}; leave {section}{key} out, or choose the "
                "kind whose sizes are free"
            )
    return result

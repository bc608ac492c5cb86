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


def with_published_sizes(data: Any, sizes: dict[str, dict[str, Any]]) -> Any:
    """A section's raw mapping with the sizes of its kind filled in; anything else comes back unchanged.

    Raises ValueError if the mapping contradicts the kind.
    """
    if not isinstance(data, dict) or data.get("kind") not in sizes:
        return data
    published = sizes[data["kind"]]
    odd = [key for key in published if key in data and data[key] != published[key]]
    if odd:
        raise ValueError(
            f"kind {data['kind']!r} is published with {odd[0]} {published[odd[0]]}; leave {odd[0]} out, or "
            "choose the kind whose sizes are free"
        )
    return {**published, **data}

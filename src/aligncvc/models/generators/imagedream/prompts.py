"""The fixed prompts as CLIP's token ids, so that no vocabulary file is needed (no torch here).

Ids are those of OpenAI's 49,408-entry byte-pair vocabulary, derived once with open_clip_torch 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence

TEXTS = {
    "gen3diffusion": (
        ", 3d asset photorealistic human scan",
        "uniform low no texture ugly, boring, bad anatomy, blurry, pixelated,  obscure, unnatural colors, "
        "poor lighting, dull, and unclear.",
    ),
    "empty": ("", ""),
}
"""Set -> (prompt, negative prompt)."""

IDS: dict[str, tuple[Sequence[int], Sequence[int]]] = {
    "gen3diffusion": (
        (267, 274, 323, 13039, 1153, 16157, 2751, 11261),
        (
            11075, 1042, 871, 16505, 8159, 267, 12519, 267, 2103, 15376, 267, 21977, 267, 14384, 943, 267,
            33337, 267, 569, 3288, 5389, 267, 3665, 5799, 267, 19433, 267, 537, 32955, 269,
        ),
    ),
    "empty": ((), ()),
}  # fmt: skip
"""The same in ids, without begin, end and padding."""

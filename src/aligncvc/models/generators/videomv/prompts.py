"""The two prompts of VideoMV as OpenCLIP's token ids, so that no vocabulary is needed (no torch here).

The conditional branch has the empty text. The unconditional one has "Distorted, discontinuous, Ugly, blurry,
low resolution, disfigured, disconnected limbs, Ugly faces, incomplete arms". Ids as open_clip_torch 3.3 gives
them; it pads with 0.
"""

from __future__ import annotations

from collections.abc import Sequence

EMPTY: Sequence[int] = ()
NEGATIVE: Sequence[int] = (
    23781, 775, 267, 1518, 17033, 267, 8159, 267, 21977, 267, 1042, 9977, 267, 1518, 15630, 267, 1518, 27506,
    34886, 267, 8159, 4905, 267, 34040, 5706,
)  # fmt: skip

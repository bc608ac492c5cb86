"""EfficientNet-Lite2: Lite0 made 1.1 times wider and 1.2 times deeper, for distances between sets of images.

No discriminator of this project has seen it, so no training can have learned to please it.
"""

from __future__ import annotations

from aligncvc.models.encoders.frozen import Level
from aligncvc.models.encoders.lite0 import Lite0, Stages, convert_state
from aligncvc.models.ledger.weights import load_strict, resolved_state
from aligncvc.models.specs import CheckpointAccess

LITE2: Stages = (
    (1, 16, 3, 1, 1), (6, 24, 3, 2, 3), (6, 48, 5, 2, 3), (6, 88, 3, 2, 4),
    (6, 120, 5, 1, 4), (6, 208, 5, 2, 5), (6, 352, 3, 1, 1),
)  # fmt: skip


class Lite2(Lite0):
    """EfficientNet-Lite2, for images of any size; `embed` has 1280 features, as Lite0's."""

    plan = LITE2
    levels = tuple(Level(channels) for channels in (16, 24, 48, 120, 352))


def load_lite2(access: CheckpointAccess = CheckpointAccess()) -> Lite2:
    """Raises UserError if the weights are missing: they come with the extra `lite2`."""
    model = Lite2()
    load_strict(model, convert_state(resolved_state("lite2", access), LITE2))
    return model

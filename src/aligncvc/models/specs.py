"""Which networks a job works with, as plain settings: no torch here, so that planning stays light."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from aligncvc.scene.rigs import Rig
from aligncvc.section import Section


class CheckpointAccess(Section):
    """Where weight files come from and on which terms: handed whole to everything that loads weights."""

    ledger: str = Field(
        "config/checkpoints.yaml", description="the list of weight files, relative to the checkout"
    )
    offline: bool = Field(True, description="never touch the network; missing files are an error")
    accept_licences: list[str] = Field(
        default_factory=list, description="non-permissive licences accepted by name"
    )


class ModelSpec(Section):
    """One generator or reconstructor: its kind, all settings of its network, and the weights of its parts.

    kind: a folder in models/, or a dotted package. network: every setting, completed by the kind's
    settings.py. weights: part -> ledger id; other parts keep random ones. id: the model's in the ledger.
    """

    id: str | None = None
    kind: str
    network: dict[str, Any] = {}
    weights: dict[str, str] = {}


class RunWeights(Section):
    """Ledger ids of a finished alignment run."""

    student: str = Field(description="ledger id of the LoRA")
    recon: str = Field(description="ledger id of the reconstructor")


class PairSpec(Section):
    """A generator and a reconstructor that work together.

    rig: where the generator's V views stand. reconstruct: which of them the reconstructor is shown, None for
    all, and reconstruct_fov_y_deg at which field of view, None for their own; every view is rendered and fed
    back. input_view: it is shown the input image in place of the first of them. views_px, renderings_px: side
    of the generator's views and of the renderings. guidance: where a method names none. seed: of random
    weights.
    """

    name: str
    generator: ModelSpec
    reconstructor: ModelSpec
    rig: Rig
    reconstruct: list[int] | None = None
    reconstruct_fov_y_deg: float | None = None
    input_view: bool = False
    views_px: int
    renderings_px: int
    guidance: float
    seed: int

    def without_weights(self) -> Self:
        """The same networks with random weights."""
        both = {"generator": self.generator, "reconstructor": self.reconstructor}
        return self.model_copy(update={k: v.model_copy(update={"weights": {}}) for k, v in both.items()})

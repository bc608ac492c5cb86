"""What the loop hands from step to step. No torch at run time: plans import feedbacks, which import this."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from aligncvc.models.generators.base import Prediction, Tree
    from aligncvc.models.generators.schedules import Time
    from aligncvc.scene.gaussians import Gaussians
    from aligncvc.splat import Rendering


@dataclass(frozen=True)
class Look:
    """Generated views, the 3D model that they yield, and that model drawn at the same cameras.

    views: (B, V, 3, H, W) in [0, 1], at the generator's size; gaussians: batched over B; drawn: rgb on white,
    alpha and depth (B, V, C, H', W'), at the cameras' size. `views.at_common_size` makes both comparable.
    """

    views: Tensor
    gaussians: Gaussians
    drawn: Rendering

    @property
    def renderings(self) -> Tensor:
        """(B, V, 3, H', W')."""
        return self.drawn.rgb


@dataclass(frozen=True)
class Step:
    """What one step found: the prediction that the next state starts from, and the 3D model if it looked."""

    prediction: Prediction
    look: Look | None


@dataclass(frozen=True)
class State:
    """Where sampling stands: noisy latents z (B, V, C, h, w) at times[index], and what the denoiser sees.

    times: all timesteps, descending. After the last step, index is their number and z is clean.
    """

    z: Tensor
    condition: Tree
    times: list[Time]
    index: int = 0

    @property
    def now(self) -> Time:
        """The timestep of z; after the last step it stays the last."""
        return self.times[min(self.index, len(self.times) - 1)]

    @property
    def following(self) -> Time | None:
        """The next timestep; None: clean latents."""
        return self.times[self.index + 1] if self.index + 1 < len(self.times) else None

    def then(self, z: Tensor, **changes: Tree) -> State:
        """The state one step on, with other latents and, if named, another condition."""
        return replace(self, z=z, index=self.index + 1, **changes)

"""The paper's 3D-aware sampling (AlignCVC, figure 2): every step goes through the Gaussians.

The generator predicts clean views, the reconstructor turns them into Gaussians, the Gaussians are rendered at
the same cameras, and the *renderings* are re-noised to the next timestep, with fresh noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligncvc.loop.feedback import Feedback, State, Step

if TYPE_CHECKING:
    from aligncvc.loop.unroll import Loop


class AlignCvc(Feedback):
    """Looks at every step; the next state is the encoded renderings and fresh noise."""

    jumps = True

    def kept(self, steps: int) -> list[int]:
        return list(range(steps))

    def looks(self, state: State) -> bool:
        return True

    def advance(self, loop: Loop, state: State, step: Step) -> State:
        assert step.look is not None
        clean = loop.encode(step.look, step.prediction.x0)
        return state.then(loop.renoise(clean, state))


FEEDBACK = AlignCvc()

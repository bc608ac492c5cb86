"""Gen-3Diffusion's joint sampling (arXiv 2412.06698): every step's clean latents are those of the renderings.

They replace what the generator predicted after guidance, and the noise is what they imply for the noisy
latents. After the last step both networks run once more, at its timestep: that 3D model is the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligncvc.loop.feedback import Feedback, Look, State, Step

if TYPE_CHECKING:
    from aligncvc.loop.unroll import Loop


class Gen3Diffusion(Feedback):
    """Looks at every step; DDIM (or Euler) with the renderings and the noise that they imply."""

    def looks(self, state: State) -> bool:
        return True

    def observe(self, loop: Loop, state: State) -> Step:
        seen = super().observe(loop, state)
        assert seen.look is not None
        clean = loop.encode(seen.look, seen.prediction.x0)
        return Step(loop.with_x0(state, clean), seen.look)

    def finish(self, loop: Loop, state: State, step: Step) -> Look:
        end = self.advance(loop, state, step)
        return loop.look(loop.predict(end).x0, end)


FEEDBACK = Gen3Diffusion()

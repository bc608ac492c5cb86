"""VideoMV's 3D-aware sampling (arXiv 2403.12010): three looks on the way, one in each branch of guidance.

At steps 20, 30 and 40 of its 50 the clean latents of either branch give way to their encoded renderings, the
two are guided as clean latents, and the noise is what they imply for the noisy latents; DDIM without fresh
noise. Other numbers of steps have the looks at the same shares of the way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aligncvc.loop.feedback import Feedback, Look, State, Step

if TYPE_CHECKING:
    from aligncvc.loop.unroll import Loop

LOOKS = (2, 3, 4)
"""Fifths of the steps."""


class VideoMv(Feedback):
    """Elsewhere it is two-stage sampling: guiding the network's own output is guiding clean latents.

    VideoMV's release feeds back renderings over grey 0.7: `background` of the pair's rig.
    """

    per_branch = True

    def looks(self, state: State) -> bool:
        return state.index in {fifths * len(state.times) // 5 for fifths in LOOKS}

    def observe(self, loop: Loop, state: State) -> Step:
        if not self.looks(state):
            return super().observe(loop, state)
        branches = loop.branches(state)
        looks = [loop.look(branch.x0, state) for branch in branches]
        refined = [loop.encode(look, branch.x0) for look, branch in zip(looks, branches, strict=True)]
        return Step(loop.with_x0(state, loop.guide(*refined)), looks[-1])

    def finish(self, loop: Loop, state: State, step: Step) -> Look:
        """From the clean latents, even if the last step looked: that was at one branch."""
        return super().finish(loop, state, replace(step, look=None))


FEEDBACK = VideoMv()

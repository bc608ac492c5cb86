"""Ouroboros3D's sampling (arXiv 2406.03184): the 3D model of a step is a condition of the next one.

The latents follow the generator's own steps, and nothing replaces what it predicted. What it is told of the
3D model (colours, and where surfaces lie) is its own matter: `generators.base.TakesMaps`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from aligncvc.errors import UserError
from aligncvc.loop.feedback import Feedback, State, Step
from aligncvc.models.kinds import takes_maps
from aligncvc.models.specs import PairSpec

if TYPE_CHECKING:
    from aligncvc.loop.unroll import Loop
    from aligncvc.models.generators.base import TakesMaps


class Ouroboros3d(Feedback):
    """Looks at every step; the last look is the result."""

    def check(self, pair: PairSpec, steps: int) -> None:
        super().check(pair, steps)
        if not takes_maps(pair.generator.kind):
            raise UserError(
                f"Ouroboros3d makes renderings a condition of the next step, and the generator of pair "
                f"{pair.name} (kind {pair.generator.kind}) takes none; choose another feedback or generator"
            )

    def looks(self, state: State) -> bool:
        return True

    def advance(self, loop: Loop, state: State, step: Step) -> State:
        assert step.look is not None
        generator = cast("TakesMaps", loop.pair.generator)
        told = generator.with_maps(state.condition, step.look.drawn, loop.cameras)
        return super().advance(loop, replace(state, condition=told), step)


FEEDBACK = Ouroboros3d()

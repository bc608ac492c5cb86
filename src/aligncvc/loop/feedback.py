"""Feedback: when sampling looks at the 3D model, what becomes of the prediction, what the next state is.

A feedback is one module with a `FEEDBACK`, found by its name: `aligncvc` here, or a dotted one. No torch
here, nor in the feedbacks of this package, so that planning can ask whether a feedback suits a pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from aligncvc.errors import UserError
from aligncvc.models.kinds import feedback_module
from aligncvc.models.specs import PairSpec

if TYPE_CHECKING:
    from torch import Tensor

    from aligncvc.loop.unroll import Loop
    from aligncvc.models.generators.base import Prediction, Tree
    from aligncvc.models.generators.schedules import Schedule, Time
    from aligncvc.scene.gaussians import Gaussians
    from aligncvc.splat import Rendering

KEPT_STEPS = 4
"""Steps whose views and renderings are kept, where a feedback names no others."""

NO_FEEDBACK = ("cost", "feedback", "unroll")
"""Modules of aligncvc.loop that are none."""


@dataclass(frozen=True)
class Look:
    """Generated views (B, V, 3, H, W), the 3D model they yield, and that model drawn, at its size.

    background: grey value that it was drawn on.
    """

    views: Tensor
    gaussians: Gaussians
    drawn: Rendering
    background: float = 1.0

    @property
    def renderings(self) -> Tensor:
        """(B, V, 3, H', W') as they are fed back."""
        return self.drawn.rgb

    @property
    def on_white(self) -> Tensor:
        """(B, V, 3, H', W'), to be compared with views and truth."""
        if self.background == 1.0:
            return self.drawn.rgb
        return self.drawn.rgb + (1 - self.drawn.alpha) * (1 - self.background)


@dataclass(frozen=True)
class Step:
    """What one step found: the prediction that the next state starts from, and the 3D model if it looked."""

    prediction: Prediction
    look: Look | None


@dataclass(frozen=True)
class State:
    """Where sampling stands: noisy latents z (B, V, C, h, w) at times[index]; after the last step, clean.

    image: the input image (B, 3, H, W). condition: what the denoiser sees of it and of the cameras.
    """

    z: Tensor
    image: Tensor
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
        return replace(self, z=z, index=self.index + 1, **changes)


class Feedback:
    """The rule without feedback: deterministic steps to clean latents, then one reconstruction.

    Rules with feedback override what differs. The `State` is all that is carried from step to step.
    """

    per_branch = False
    """Needs the conditional and the unconditional prediction apart; a distilled generator has one only."""

    jumps = False
    """Takes the configuration's timesteps (`sample.timesteps`): its steps need not follow the schedule."""

    def check(self, pair: PairSpec, steps: int) -> None:
        """Raise UserError, in a sentence that says why, if this cannot work with a pair in so many steps."""
        if self.per_branch and pair.generator.network.get("distilled"):
            raise UserError(
                f"{type(self).__name__} feeds back into each branch of guidance, and the generator of pair "
                f"{pair.name} is distilled: it has one; choose another feedback or generator"
            )

    def times(self, schedule: Schedule, steps: int, listed: list[int] | None) -> list[Time]:
        """Descending timesteps; listed: those of the configuration, if it has any for so many steps."""
        return schedule.times(steps) if listed is None else schedule.listed(listed)

    def kept(self, steps: int) -> list[int]:
        """Steps whose views and renderings are kept, the last among them: evenly spaced, four at most."""
        count = min(KEPT_STEPS, steps)
        return [round((i + 1) * steps / count) - 1 for i in range(count)]

    def looks(self, state: State) -> bool:
        """Whether this step reconstructs and renders."""
        return False

    def observe(self, loop: Loop, state: State) -> Step:
        """Predict, and look at the 3D model where `looks` says so. What it returns has the new prediction."""
        prediction = loop.predict(state)
        return Step(prediction, loop.look(prediction.x0, state) if self.looks(state) else None)

    def advance(self, loop: Loop, state: State, step: Step) -> State:
        """The next state; after the last step, clean latents."""
        return state.then(loop.step(state, step.prediction))

    def finish(self, loop: Loop, state: State, step: Step) -> Look:
        """The result, from the last step: what it saw of the 3D model, else what the clean latents yield."""
        if step.look is not None:
            return step.look
        end = self.advance(loop, state, step)
        return loop.look(end.z, end, clean=True)


def known_feedbacks() -> list[str]:
    """Names of the feedback rules of this package, sorted."""
    home = import_module("aligncvc.loop")
    return sorted(module.name for module in iter_modules(home.__path__) if module.name not in NO_FEEDBACK)


def find_feedback(name: str) -> Feedback:
    """A feedback rule by its name, or by the dotted name of the user's module. UserError if there is none."""
    module = feedback_module(name)
    try:
        return import_module(module).FEEDBACK
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not module.startswith(str(error.name)):
            raise  # the module is there and lacks something else
        raise UserError(
            f"there is no feedback {name!r} ({module} has no FEEDBACK or cannot be imported); choose one of "
            f"{', '.join(known_feedbacks())}, or the dotted name of a module of your own"
        ) from None

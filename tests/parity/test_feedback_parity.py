"""Our feedback rules against what three official sampling loops yielded with the same small functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from feedback_toys import (
    COMPARED,
    RULES,
    SYSTEMS,
    one_step,
    parameters_of,
    toy_loop,
    toy_renderer,
    whole_way,
)
from parity_tools import DATA, TOLERANCE, relative_error

from aligncvc.loop.feedback import Feedback
from aligncvc.loop.unroll import Loop

Facts = dict[str, torch.Tensor]
STEPS = [(system, index) for system in SYSTEMS for index in COMPARED[system]]


def facts_of(system: str) -> Facts:
    with np.load(DATA / "feedback.npz") as archive:
        names = [name for name in archive.files if name.startswith(f"{system} ")]
        return {name.removeprefix(f"{system} "): torch.from_numpy(archive[name]) for name in names}


def loop_of(system: str, facts: Facts) -> Loop:
    return toy_loop(system, facts.get("alphas"), facts.get("c2w"))


@torch.no_grad()
@pytest.mark.parametrize(("system", "index"), STEPS)
def test_a_step_is_the_official_one(system: str, index: int) -> None:
    """What becomes of the prediction, the next latents, and what the denoiser is told next."""
    facts = facts_of(system)
    with toy_renderer():
        step, following = one_step(system, loop_of(system, facts), facts, index)
    assert relative_error(step.prediction.x0, facts[f"x0 {index}"]) < TOLERANCE
    assert relative_error(following.z, facts[f"next {index}"]) < TOLERANCE
    if system == "ouroboros3d":
        told, expected = following.condition["maps"], facts[f"next maps {index}"]
        assert relative_error(told[:, :, :3], expected[:, :, :3]) < TOLERANCE, "colours"
        assert relative_error(told[:, :, 3:] - 0.5, expected[:, :, 3:] - 0.5) < TOLERANCE, "coordinates"


@torch.no_grad()
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_whole_way_is_the_official_one(system: str) -> None:
    facts = facts_of(system)
    with toy_renderer():
        state, result = whole_way(system, loop_of(system, facts), facts)
    assert relative_error(state.z, facts["last z"]) < TOLERANCE
    if system != "videomv":  # which ends at latents
        assert relative_error(parameters_of(result.gaussians), facts["gaussians"]) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize(("system", "index"), [step for step in STEPS if step != ("videomv", 5)])
def test_a_step_without_the_feedback_is_another(
    system: str, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, system, Feedback())
    facts = facts_of(system)
    with toy_renderer():
        step, following = one_step(system, loop_of(system, facts), facts, index)
    if system == "ouroboros3d":  # whose latents know of it in the next step only
        assert relative_error(following.condition["maps"], facts[f"next maps {index}"]) > 0.01
    else:
        assert relative_error(step.prediction.x0, facts[f"x0 {index}"]) > 0.01
        assert relative_error(following.z, facts[f"next {index}"]) > TOLERANCE

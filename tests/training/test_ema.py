"""The average of the weights: its two beginnings, and scoring with it."""

from __future__ import annotations

import pytest
import torch

from aligncvc.training import Ema


def averages(values: list[float], decay: float, from_first: bool) -> list[float]:
    """Of one number that takes these values, after each but the first."""
    parameter = torch.tensor(values[0])
    ema = Ema({"w": parameter}, decay, from_first)
    found = []
    for value in values[1:]:
        parameter.fill_(value)
        ema.update()
        found.append(float(ema.shadow["w"]))
    return found


@pytest.mark.parametrize("from_first", [False, True])
def test_the_decay_warms_up(from_first):
    """Alignment averages the weights before training too, pretraining begins with those after one update."""
    values, decay = [8.0, 1.0, 2.0, 4.0], 0.26
    keeps = [0.0, 2 / 11, 3 / 12] if from_first else [2 / 11, 3 / 12, decay]
    average, wanted = values[0], []
    for keep, value in zip(keeps, values[1:], strict=True):
        average = keep * average + (1 - keep) * value
        wanted.append(average)
    assert averages(values, decay, from_first) == pytest.approx(wanted)


def test_pretraining_averages_as_diffusers_does():
    """Equal to the bit: so were the networks averaged that ship with the repository."""
    from diffusers.training_utils import EMAModel

    network = torch.nn.Linear(50, 50)
    theirs = EMAModel(network.parameters(), decay=0.5)
    ours = Ema(dict(network.named_parameters()), 0.5, from_first=True)
    for _ in range(15):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += torch.randn_like(parameter)
        theirs.step(network.parameters())
        ours.update()
    assert all(torch.equal(a, b) for a, b in zip(theirs.shadow_params, ours.shadow.values(), strict=True))


def test_averages_are_lent_for_scoring_and_given_at_the_end():
    parameter = torch.nn.Parameter(torch.zeros(()))
    ema = Ema({"w": parameter}, 0.5)
    with torch.no_grad():
        parameter.fill_(11.0)
    ema.update()
    with pytest.raises(RuntimeError), ema.applied():
        assert parameter.item() == pytest.approx(9.0)
        raise RuntimeError
    assert parameter.item() == 11.0
    ema.apply()
    assert parameter.item() == pytest.approx(9.0)

"""Compare our feedback rules with three official sampling loops, and write down what those yield as facts.

Each option is `package.module:object`, a callable(toys) that runs an official loop with the functions of
`feedback_toys` in the place of its networks, VAE and renderer, and returns tensors by name:
  times (S,); alphas (1000,) unless the schedule is of sigmas; c2w (V, 4, 4) where the maps depend on it;
  z i, x0 i, next i   of each step i of `feedback_toys.COMPARED`: what it starts from, the clean latents that
                      it goes on with, what it yields
  maps i, next maps i what the denoiser is told of the 3D model in step i and in the next, if anything
  last z, gaussians   what the last step starts from, and the result (B, N, 14), if there is one
--facts FOLDER writes them to feedback.npz, which CI compares with.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import feedback_toys
import numpy as np
import torch
from feedback_toys import COMPARED, SYSTEMS, one_step, parameters_of, toy_loop, toy_renderer, whole_way
from parity_tools import TOLERANCE, named, relative_error
from torch import Tensor

from aligncvc.files import atomic_path


@torch.no_grad()
def errors_of(system: str, facts: dict[str, Tensor]) -> dict[str, float]:
    """Relative errors of single steps, and of the whole way (which adds up its steps' rounding)."""
    loop, errors = toy_loop(system, facts.get("alphas"), facts.get("c2w")), {}
    with toy_renderer():
        for index in COMPARED[system]:
            step, following = one_step(system, loop, facts, index)
            errors[f"x0 {index}"] = relative_error(step.prediction.x0, facts[f"x0 {index}"])
            errors[f"next {index}"] = relative_error(following.z, facts[f"next {index}"])
            if f"next maps {index}" in facts:
                found = following.condition["maps"]
                errors[f"next maps {index}"] = relative_error(found, facts[f"next maps {index}"])
        state, result = whole_way(system, loop, facts)
    errors["last z"] = relative_error(state.z, facts["last z"])
    if "gaussians" in facts:
        errors["gaussians"] = relative_error(parameters_of(result.gaussians), facts["gaussians"])
    return {f"{system} {name}": error for name, error in errors.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option in SYSTEMS:
        parser.add_argument(f"--{option}", required=True, type=named)
    parser.add_argument("--facts", type=Path)
    arguments = parser.parse_args()
    errors, kept = {}, {}
    for system in SYSTEMS:
        facts = getattr(arguments, system)(feedback_toys)
        errors |= errors_of(system, facts)
        kept |= {f"{system} {name}": value.numpy() for name, value in facts.items()}
    if arguments.facts:
        with atomic_path(arguments.facts / "feedback.npz") as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, **kept)  # type: ignore[arg-type]
    print(json.dumps(errors, indent=1))
    if max(errors.values()) > TOLERANCE:
        sys.exit(f"a relative error is above {TOLERANCE:g}")


if __name__ == "__main__":
    main()

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

import feedback_toys
import torch
from feedback_toys import COMPARED, SYSTEMS, one_step, parameters_of, toy_loop, toy_renderer, whole_way
from parity_tools import Errors, conclude, parser, relative_error, write_facts
from torch import Tensor


@torch.no_grad()
def errors_of(system: str, facts: dict[str, Tensor]) -> Errors:
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
    options = parser(__doc__, SYSTEMS)
    arguments = options.parse_args()
    errors, kept = {}, {}
    for system in SYSTEMS:
        facts = getattr(arguments, system)(feedback_toys)
        errors |= errors_of(system, facts)
        kept |= {f"{system} {name}": value.numpy() for name, value in facts.items()}
    if arguments.facts:
        write_facts(arguments.facts, "feedback", kept)
    conclude(errors)


if __name__ == "__main__":
    main()

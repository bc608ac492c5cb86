"""One call of every full-size network of the ledger, with random weights: seconds, peak memory and TFLOP.

A generator's call is its denoiser on all views of one object, one branch of guidance; a reconstructor's is
views to Gaussians. TFLOP (a multiply-add counts two) are those of the sizes that the weights were made for;
a generator's are counted without computing. Seconds and memory are measured on the device that there is: of a
generator on a CPU with few and small views, as the row's note says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from aligncvc.bench.measure import Row, measured_apart, row
from aligncvc.bench.synthetic import cameras_at
from aligncvc.config.pairing import model_spec
from aligncvc.errors import UserError
from aligncvc.hardware import PeakMemory
from aligncvc.loop.cost import Stopwatch
from aligncvc.models.generators.base import MultiViewGenerator, Tree, over_tree
from aligncvc.models.kinds import Role
from aligncvc.models.ledger.ledger import load_ledger
from aligncvc.models.pair import build_generator, build_reconstructor
from aligncvc.models.specs import ModelSpec
from aligncvc.scene.cameras import Cameras, ring_azimuths_deg
from aligncvc.scene.renderset import batched

PREFIX = "call_"


@dataclass(frozen=True)
class Call:
    """views: of one object; size_px: their side."""

    views: int
    size_px: int

    def __str__(self) -> str:
        return f"{self.views} views of {self.size_px} px"


PUBLISHED = {
    "wonder3d-plus": Call(4, 256),
    "sv3d-p": Call(21, 576),
    "videomv": Call(24, 256),
    "ouroboros3d": Call(8, 512),
    "gen3diffusion": Call(4, 256),
    "lgm-big": Call(4, 256),
    "ouroboros3d-lgm": Call(4, 256),
    "gen3diffusion-lgm": Call(4, 256),
    "geolrm": Call(4, 448),
}
"""Models of the ledger, and what their weights were made for."""

SMALL = Call(4, 256)
"""What one call is measured with on a CPU, where the published one takes too long."""


def spec_of(name: str) -> tuple[Role, ModelSpec]:
    """A ledger's model by its name, with its role."""
    ledger = load_ledger()
    role = ledger.models[name].role
    return role, model_spec(ledger, role, name, name)


def posed(call: Call) -> tuple[Tensor, Cameras]:
    """Views of noise (1, V, 3, H, W) and their cameras."""
    return torch.rand(1, call.views, 3, call.size_px, call.size_px), batched(
        [cameras_at(ring_azimuths_deg(call.views), call.size_px)]
    )


def sized(spec: ModelSpec, call: Call) -> MultiViewGenerator:
    """A generator of these views, with random weights."""
    network = {**spec.network, "size_px": call.size_px}
    bare = spec.model_copy(update={"weights": {}, "network": network})
    return build_generator(bare, call.size_px).eval()


def told(generator: MultiViewGenerator, call: Call) -> tuple[Tensor, Tensor, Tree]:
    """Noisy latents, a time and the condition."""
    images, cameras = posed(call)
    z = torch.randn(1, *generator.latent_shape(call.views))
    time_ = torch.tensor([generator.schedule.times(4)[1]], dtype=generator.schedule.dtype)
    return z, time_, generator.encode_condition(images[:, 0], cameras.c2w)


def attention_flops(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: object, **__: object
) -> int:
    """Of both products of scaled dot-product attention, from the shapes of its inputs."""
    flops: int = sdpa_flop_count(query, key, value)
    return flops


def teraflops(run: Callable[[], object]) -> float:
    """Floating-point operations of a call in 10^12, counted while it runs."""
    # torch knows the formula for every attention but the one that it takes on a CPU
    on_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops}
    with FlopCounterMode(display=False, custom_mapping=on_cpu) as counter, torch.no_grad():
        run()
    return float(counter.get_total_flops()) / 1e12


def counted(spec: ModelSpec, call: Call) -> float:
    """TFLOP of a generator's call: its inputs are real, the denoiser holds and computes no number."""
    generator = sized(spec, call)
    inputs = over_tree(lambda x: x.to("meta"), told(generator, call))
    generator.to("meta")
    return teraflops(lambda: generator.raw_prediction(*inputs))


def measured(spec: ModelSpec, role: str, call: Call) -> dict[str, float]:
    """seconds, peak_mb and TFLOP of one call: the second on CUDA, the only one on a CPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    memory = PeakMemory(device)
    if role == "reconstructors":
        network: Any = build_reconstructor(spec).eval().to(device)
        images, cameras = posed(call)
        inputs: tuple[Any, ...] = (images.to(device), cameras.to(device))
    else:
        network = sized(spec, call)
        inputs = over_tree(lambda x: x.to(device), told(network, call))
        network = network.to(device).raw_prediction
    if device.type == "cuda":
        with torch.no_grad():
            network(*inputs)
    watch = Stopwatch(device)
    with watch("call"):
        tflop = teraflops(lambda: network(*inputs))
    return {"seconds": watch.total, "peak_mb": memory.read(), "tflop": tflop}


def bench_calls() -> list[Row]:
    """Rows for results/bench.json; prints a sentence for each that was left out."""
    rows: list[Row] = []
    for name, published in PUBLISHED.items():
        role, spec = spec_of(name)
        call = published if torch.cuda.is_available() or role == "reconstructors" else SMALL
        try:
            found = measured_apart(measured, spec, role, call)
            tflop = found["tflop"] if call == published else measured_apart(counted, spec, published)
        except (RuntimeError, MemoryError, UserError) as error:
            print(f"{name}: left out: {error}")
            continue
        rows.append(row(f"{PREFIX}{name}_tflop", tflop, "TFLOP/call", note=str(published)))
        rows.append(row(f"{PREFIX}{name}", found["seconds"], "s/call", note=str(call)))
        rows.append(row(f"{PREFIX}{name}_memory", found["peak_mb"], "MB", note=str(call)))
    return rows

"""`python -m aligncvc.benches.full_size`: seconds and memory of the paper's networks, with random weights.

Image to Gaussians in 50 two-stage and in 4 3D-aware steps, by parts; one step of post-training as it is here
and as a plain float32 one with a second denoiser for the teacher. Each piece runs in a process of its own, if
the memory that is free allows it. `make bench` includes this; docs/wonder3d.md says how to read it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
import tyro

from aligncvc.benches import sampling, training
from aligncvc.benches.rows import Row, row
from aligncvc.benches.weights import GIB, Precision
from aligncvc.config import Config, load_config
from aligncvc.errors import UserError, cli
from aligncvc.files import PROJECT_ROOT, write_json
from aligncvc.hardware import hardware
from aligncvc.ownership import claim_files

CONFIG = PROJECT_ROOT / "config/paper.yaml"
PREFIX = "full_size_"
"""Of the names of all rows that come from here."""

Mode = Literal["off", "parts", "whole"]
Result = dict[str, Any]


@dataclass(frozen=True)
class Piece:
    """What one process measures: how much memory it needs (estimated bytes), and the measurement."""

    needed: Callable[[Config, Precision], int]
    measure: Callable[[Config, torch.device, Precision], Result]


def whole(name: str) -> Piece:
    method = sampling.METHODS[name]
    return Piece(sampling.memory_needed, lambda c, d, p: sampling.measure_whole(c, d, method, p))


def training_step(variant: training.Variant) -> Piece:
    return Piece(
        lambda config, _: training.memory_needed(config, variant),
        lambda config, _, precision: training.measure_step(config, variant, precision),
    )


PIECES: dict[str, Piece] = {
    "parts": Piece(sampling.memory_needed, lambda config, device, _: sampling.measure_parts(config, device)),
    "50 steps": whole("50"),
    "4 steps": whole("4"),
    "post-training step": training_step("ours"),
    "plain post-training step": training_step("plain"),
}


def default_mode() -> Mode:
    """Whole samplers on CUDA; on a CPU, where 50 steps take a quarter of an hour or more, their parts."""
    return "whole" if torch.cuda.is_available() else "parts"


def available_bytes() -> int:
    """Memory that is free now: the device's on CUDA, the machine's on a CPU."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)


def run_apart(name: str, config: Path, precision: Precision) -> Result | str:
    """A piece measured in a new process, or one sentence that says why it was left out."""
    needed, available = PIECES[name].needed(load_config(config), precision), available_bytes()
    if needed > available:
        return (
            f"full size, {name}: left out, since it needs about {needed / GIB:.1f} GiB (estimated) and "
            f"{available / GIB:.1f} GiB are free"
        )
    command = [sys.executable, "-m", "aligncvc.benches.full_size", "--piece", name, "--config", str(config)]
    done = subprocess.run([*command, "--precision", precision], text=True, capture_output=True, check=False)
    if done.returncode < 0:
        return f"full size, {name}: left out, since its process was ended by signal {-done.returncode}"
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"its process ended with {done.returncode}"]
        return f"full size, {name}: left out, since it failed: {said[0].removeprefix('error: ')}"
    result: Result = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def bench_full_size(config: Path = CONFIG, mode: Mode | None = None) -> tuple[list[Row], list[str]]:
    """Rows for results/bench.json, and a sentence for each piece that was left out.

    config: whose networks and settings; its weights are not read. mode: `parts` measures each part of the
    samplers once, `whole` the samplers themselves too, `off` nothing; None: see `default_mode`.
    """
    mode = mode or default_mode()
    if mode == "off":
        return [], []
    # bfloat16 on CUDA; on a CPU the first piece finds out, and is planned for the larger one
    precision: Precision = "bf16" if torch.cuda.is_available() else "float32"
    results: dict[str, Result] = {}
    left_out: list[str] = []
    for name in PIECES:
        if name in ("50 steps", "4 steps") and mode != "whole":
            continue
        found = run_apart(name, config, precision)
        if isinstance(found, str):
            left_out.append(found)
            continue
        results[name] = found
        precision = results["parts"]["precision"] if name == "parts" else precision
    return rows_of(results), left_out


def rows_of(results: dict[str, Result]) -> list[Row]:
    """All rows of the pieces that were measured, by the piece's name."""
    rows: list[Row] = []
    whole = {name: results[f"{name} steps"] for name in sampling.METHODS if f"{name} steps" in results}
    if "parts" in results:
        rows += part_rows(results["parts"])
        rows += computed_rows(results["parts"], [name for name in sampling.METHODS if name not in whole])
    rows += whole_rows(whole)
    if "post-training step" in results:
        rows += step_rows(results["post-training step"], results.get("plain post-training step"))
    return rows


def part_rows(found: Result) -> list[Row]:
    """Each part once, and how often the samplers call it."""
    note = found["precision"]
    rows = [
        row(f"{PREFIX}generator_{precision}", seconds, "s/call", note="the faster one decides the precision")
        for precision, seconds in found["generator_seconds"].items()
    ]
    for part in sampling.PARTS:
        rows.append(row(f"{PREFIX}one_{part}", found["seconds"][part], "s/call", note=note))
        rows.append(row(f"{PREFIX}one_{part}_memory", found["peak_mb"][part], "MB", note=note))
    for name, method in sampling.METHODS.items():
        for part, calls in sampling.part_calls(method).items():
            rows.append(row(f"{PREFIX}{name}_steps_{part}_calls", calls, "calls/object"))
    return rows


def computed_rows(found: Result, names: list[str]) -> list[Row]:
    """What the parts come to in samplers that were not measured themselves."""
    calls = {name: sampling.part_calls(sampling.METHODS[name]) for name in names}
    seconds = {n: sum(k * found["seconds"][part] for part, k in calls[n].items()) for n in names}
    network = {n: found["network_calls"] * sampling.METHODS[n].steps for n in names}
    note = f"{found['precision']}; computed: sum of one_* x *_calls, not measured"
    rows = []
    for name in names:
        fifty = "50" if "50" in names and name != "50" else None
        label = f"{PREFIX}{name}_steps"
        rows.append(
            row(f"{label}_computed", seconds[name], "s/object", seconds[fifty] if fifty else None, note)
        )
        rows.append(
            row(f"{label}_network_calls", network[name], "calls/object", network[fifty] if fifty else None)
        )
    return rows


def whole_rows(found: dict[str, Result]) -> list[Row]:
    """The samplers, by their number of steps: seconds, by part too, memory and calls of the network."""
    rows = []
    for name, result in found.items():
        base = found.get("50") if name != "50" else None
        note = result["precision"]
        for key, unit in (("seconds", "s/object"), ("peak_mb", "MB")):
            label = f"{PREFIX}{name}_steps" + ("_memory" if key == "peak_mb" else "")
            rows.append(row(label, result[key], unit, base[key] if base else None, note))
        rows += [
            row(f"{PREFIX}{name}_steps_{part}", seconds, "s/object", note=note)
            for part, seconds in result["seconds_by_part"].items()
        ]
        calls = base["network_calls"] if base else None
        rows.append(
            row(f"{PREFIX}{name}_steps_network_calls", result["network_calls"], "calls/object", calls)
        )
    return rows


def step_rows(ours: Result, plain: Result | None) -> list[Row]:
    """One step of post-training, against the plain one if that was measured."""
    rows = []
    for key, unit in (("seconds", "s/step"), ("peak_mb", "MB")):
        label = f"{PREFIX}align_step" + ("_memory" if key == "peak_mb" else "")
        rows.append(row(label, ours[key], unit, plain[key] if plain else None, ours["note"]))
        if plain:
            rows.append(row(label.replace("step", "step_plain"), plain[key], unit, note=plain["note"]))
    return rows


def merged(path: Path, rows: list[Row]) -> list[Row]:
    """The rows of an earlier bench.json without its full-size ones, then these."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [r for r in kept if not r["name"].startswith(PREFIX)] + rows


def full_size(
    out: Path = Path("results/bench.json"),
    config: Path = CONFIG,
    mode: Mode | None = None,
    piece: str | None = None,
    precision: Precision = "float32",
    force: bool = False,
) -> None:
    """Measure the full-size networks with random weights; other rows of `out` stay.

    Args:
        out: the JSON whose full-size rows are replaced.
        config: configuration that names the networks.
        mode: parts (each part of the samplers once) or whole (the samplers too); whole on CUDA, else parts.
        piece: measure only this one, in this process, and print it as JSON.
        precision: of a piece's networks.
        force: replace `out` even if it is of another origin.
    """
    if piece is not None:
        if piece not in PIECES:
            raise UserError(f"there is no piece {piece!r}; choose one of {', '.join(PIECES)}")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        print(json.dumps(PIECES[piece].measure(load_config(config), device, precision)))
        return
    claim_files([out], force=force)
    rows, left_out = bench_full_size(config, mode)
    write_json(out, merged(out, [{**r, "hardware": hardware()} for r in rows]))
    for r in rows:
        print("\t".join(str(r.get(key, "") or "") for key in ("name", "value", "unit", "ratio", "note")))
    print("\n".join(left_out))


if __name__ == "__main__":
    cli(lambda: tyro.cli(full_size))

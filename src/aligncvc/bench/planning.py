"""How long Snakemake plans, and in how much memory, by the number of objects of a sharded training set."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any, Literal

import yaml

from aligncvc.bench.commands import command_cost
from aligncvc.bench.measure import Row, row
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, parse_yaml, read_text

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SHARD_SIZE = 256
SECONDS, MEGABYTES = 30.0, 2000.0
"""What planning 800,000 objects may take."""


def bench_planning(clock: Literal["wall", "cpu"] = "wall", sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """A dry run of config/paper.yaml whose training set is a made-up list, for each size of it."""
    rows: list[Row] = []
    for count in sizes:
        with tempfile.TemporaryDirectory(prefix="aligncvc-planning-") as folder:
            jobs, seconds, peak_mb = _planned(Path(folder), count, clock)
        note = f"{jobs} jobs, {SHARD_SIZE} objects a shard"
        rows.append(row(f"planning_{count}", seconds, "s", SECONDS, note))
        rows.append(row(f"planning_{count}_memory", peak_mb, "MB", MEGABYTES, note))
    return rows


def write_synthetic_list(path: Path, count: int) -> None:
    """A list as long as one of Objaverse would be, with every column that a shard's job reads."""
    with path.open("w", encoding="utf-8") as lines:
        lines.write("id\tsource\tsha256\tlicence\tcreator\tsplit\n")
        for number in range(count):
            digest = hashlib.sha256(str(number).encode()).hexdigest()
            lines.write(f"{digest[:32]}\t{digest[:32]}\t{digest}\tCC-BY-4.0\tcreator {number % 999}\ttrain\n")


def _planned(folder: Path, count: int, clock: str) -> tuple[int, float, float]:
    """(jobs, seconds, peak memory in MB) of a dry run in an empty folder."""
    write_synthetic_list(folder / "list.tsv", count)
    settings: dict[str, Any] = parse_yaml(read_text(PROJECT_ROOT / "config/paper.yaml"))
    settings["objects"]["shard_size"] = SHARD_SIZE
    settings["objects"]["sets"]["train"]["list"] = str(folder / "list.tsv")
    (folder / "paper.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command: list[str | Path] = ["-m", "snakemake", "-n", "--snakefile", PROJECT_ROOT / "Snakefile"]
    command += ["--configfile", folder / "paper.yaml", "--directory", folder]
    cost = command_cost(command, f"planning {count} objects")
    found = {name: int(n) for name, n in re.findall(r"^(shard|total) +(\d+)$", cost.said, re.MULTILINE)}
    if found.get("shard") != -(-count // SHARD_SIZE):
        raise UserError(
            f"planning {count} objects made {found.get('shard', 0)} shards: {cost.said[-600:].strip()}"
        )
    return found["total"], cost.by(clock), cost.peak_mb

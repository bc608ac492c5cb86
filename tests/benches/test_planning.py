"""Planning, timed: the smallest size is planned by the real Snakemake."""

from __future__ import annotations

from pathlib import Path

from aligncvc.bench.planning import bench_planning, write_synthetic_list
from aligncvc.config.objects import ObjectSet
from aligncvc.objects.shard_lists import shard_hashes


def test_a_thousand_objects_are_four_shards() -> None:
    seconds, memory = bench_planning("cpu", (1000,))
    assert (seconds["name"], memory["name"]) == ("planning_1000", "planning_1000_memory")
    assert seconds["value"] > 0 and 20 < memory["value"] < 2000, "a process that loads Snakemake, in MB"
    assert seconds["note"].endswith("256 objects a shard") and seconds["reference"] == 30.0


def test_a_made_up_list_can_be_cut(tmp_path: Path) -> None:
    write_synthetic_list(tmp_path / "l", 100)
    assert len(shard_hashes(ObjectSet(source="objaverse", list=str(tmp_path / "l"), split="train"), 30)) == 4

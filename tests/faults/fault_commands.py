"""Every command of the program, on a world as small as may be (`fault_world`)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml
from synthetic_hub import uid

from aligncvc.files import PROJECT_ROOT


@dataclass(frozen=True)
class Command:
    """A call of the program as `fault_runs.run` takes it.

    reads: an input that it cannot do without, below the world. item: a function and a word in its arguments
    that mean one item of several. listed: the output that names an item that failed. own: outputs whose bytes
    depend on nothing but the inputs. made: folders of the world that other commands fill first. final: what
    is finished is left as it is, and so are the failures in it.
    """

    line: str
    reads: str
    own: str
    item: tuple[str, str] | None = None
    listed: str | None = None
    made: tuple[str, ...] = ()
    final: bool = False

    def __str__(self) -> str:
        words = self.line.split(" --")[0].split()
        return "-".join(Path(word).stem if "{" in word else word for word in words)


RENDERS = "--renders {w}/renders/manifest.tsv"
METRICS = "--metrics {w}/metrics/tiny/m.csv"
SAMPLES = "--samples {w}/sample/manifest.json"
LOAD = ("aligncvc.scene.renderset:load_views", "/b'")
COMMANDS = [
    Command(
        "objects --config {w}/c.yaml --object-set mine --out {o}",
        "meshes/box.glb",
        "*.glb manifest.tsv",
        ("aligncvc.objects.fetch:check_glb", "box.glb"),
        "manifest.tsv",
    ),
    Command(
        "render --config {w}/c.yaml --objects {w}/objects.tsv --out {o}",
        "objects.tsv",
        "*.png *.npy cameras.json",
        ("aligncvc.render.run:sha256_file", "here.glb"),
        "manifest.tsv",
    ),
    Command(
        f"align --config {{w}}/c.yaml --run both {RENDERS} --out {{o}}",
        "renders/a/cameras.json",
        "*.safetensors",
        LOAD,
    ),
    Command(
        f"sample --config {{w}}/c.yaml --method m {RENDERS} --out {{o}}",
        "renders/manifest.tsv",
        "*.ply *.glb *.npz",
        LOAD,
        "manifest.json",
    ),
    Command(
        "sample {w}/photo.png --config {w}/c.yaml --method m --out {o}/chair.ply",
        "photo.png",
        "*.ply *.glb *.png",
    ),
    Command(
        f"evaluate --config {{w}}/c.yaml --sample {{w}}/sample {RENDERS} --out {{o}}/m.csv",
        "renders/manifest.tsv",
        "m.protocol.json",
        LOAD,
        "m.csv",
        made=("sample",),
    ),
    Command(
        f"paper table --config {{w}}/c.yaml --table table1 {METRICS} --out {{o}}/t.csv",
        "metrics/tiny/m.csv",
        "t.csv t.md t.tex",
        made=("sample", "metrics/tiny"),
    ),
    Command(
        f"paper figures --config {{w}}/c.yaml {METRICS} {SAMPLES} {RENDERS} --out {{o}}",
        "sample/manifest.json",
        "*.png index.json",
        LOAD,  # b is what paper.showcase draws
        made=("sample", "metrics/tiny"),
    ),
    Command("checkpoints record mine {w}/photo.png --ledger {o}/ledger.yaml", "photo.png", "ledger.yaml"),
    Command("pipeline save --config {w}/c.yaml --method m --out {o}", "c.yaml", "README.md checkpoints.yaml"),
    Command(
        "render.shard --config {w}/s.yaml --number 0 --cache {w}/cache --out {o}",
        "list.tsv",
        "views.tar index.tsv",
        ("aligncvc.objects.objaverse_source:check_glb", uid(1)),
        "index.tsv",
        final=True,
    ),
    Command(
        "render.gather --config {w}/s.yaml --out {o}",
        "list.tsv",
        "manifest.tsv failures.tsv",
        made=("shards/00000",),
    ),
]
MAKERS = {"sample": COMMANDS[3], "metrics/tiny": COMMANDS[5], "shards/00000": COMMANDS[10]}


def prepared(command: Command, world: Path, out: Path) -> Path:
    """What is there before: a ledger that a line is written into, shards that are listed."""
    if "ledger.yaml" in command.line:
        out.mkdir(exist_ok=True)
        ledger = yaml.safe_load((PROJECT_ROOT / "config/checkpoints.yaml").read_text())
        entry = {"what": "of a test", "source": "file:photo.png", "licence": "MIT"}
        ledger["checkpoints"] = {"mine": entry}
        ledger["models"], ledger["groups"] = {}, {}
        (out / "ledger.yaml").write_text(yaml.safe_dump(ledger))
    if "gather" in command.line:
        shutil.copytree(world / "shards", out / "shards", dirs_exist_ok=True)
    return out

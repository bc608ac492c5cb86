"""Every command over a place that holds files of another origin: not a byte of theirs changes.

A command that would have to replace one says so in one sentence and exits with 2 before it writes anything.
In a folder of its own it works on and leaves the user's files alone.
"""

from __future__ import annotations

import runpy
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from PIL import Image, ImageDraw

from aligncvc import ownership
from aligncvc.files import PROJECT_ROOT

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "align"))

from tiny_world import tiny_settings, write_protocol, write_renders

pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # of running a module again


@dataclass(frozen=True)
class Command:
    """A call of the program. {w} is the folder of inputs, {o} the folder of outputs; writes: names there."""

    line: str
    writes: str
    folder: bool = False

    def __str__(self) -> str:
        return " ".join(self.line.split(" --")[0].replace("{w}/", "").split()[:2])


SAMPLES = "manifest.json a/seed0/model.ply a/seed0/model.glb c/seed0/steps.npz b/seed0/sample.json"
TABLE = "t.csv t.md t.tex t.json"
RECORDS = "m.csv m.protocol.json m.csv.provenance.json"
COMMANDS = [
    Command(
        "objects --config {w}/c.yaml --object-set mine --out {o}", "box.glb other.glb manifest.tsv", True
    ),
    Command(
        "render --config {w}/c.yaml --objects {w}/objects.tsv --out {o}",
        "gone/status.json gone/000.png contact_sheet.png manifest.tsv",
        True,
    ),
    Command(
        "align --config {w}/c.yaml --run both --renders {w}/renders/manifest.tsv --out {o}",
        "student.safetensors recon.safetensors metrics.jsonl state/state.pt state/metrics.jsonl",
        True,
    ),
    Command(
        "sample --config {w}/c.yaml --method m --renders {w}/renders/manifest.tsv --out {o}", SAMPLES, True
    ),
    Command(
        "sample.controls --config {w}/c.yaml --control gt --renders {w}/renders/manifest.tsv --out {o}",
        SAMPLES,
        True,
    ),
    Command(
        "sample {w}/photo.png --config {w}/c.yaml --method m --out {o}/chair.ply",
        "chair.ply chair.glb chair_input.png chair_turntable.webp chair.html",
    ),
    Command(
        "evaluate --config {w}/c.yaml --sample {w}/sample --renders {w}/renders/manifest.tsv --out {o}/m.csv",
        f"{RECORDS} m.resamples.npz",
    ),
    Command("evaluate.met3r --sample {w}/sample --renders {w}/renders/manifest.tsv --out {o}/m.csv", RECORDS),
    Command(
        "evaluate.renderings --sample {w}/sample --renders {w}/renders/manifest.tsv --out {o}/m.csv", "m.csv"
    ),
    Command("evaluate.discrimination --metrics {w}/m.csv --out {o}/d.csv", "d.csv d.md d.verdicts.csv"),
    Command("paper table --table table1 --metrics {w}/m.csv --out {o}/t.csv", TABLE),
    Command("paper costs --metrics {w}/m.csv --samples {w}/sample/manifest.json --out {o}/t.csv", TABLE),
    Command("paper reported --reported {w}/r.csv --out {o}/r.md", "r.md r.json"),
    Command(
        "paper figures --metrics {w}/m.csv --samples {w}/sample/manifest.json "
        "--renders {w}/renders/manifest.tsv --out {o}",
        "teaser.png training.pdf index.json",
        True,
    ),
    Command(
        "paper report --tables {w}/m.csv --figures {w}/f.json --samples {w}/sample/manifest.json "
        "--renders {w}/renders/manifest.tsv --out {o}/report.html",
        "report.html",
    ),
    Command(
        "paper verdict --claims {w}/r.csv --metrics {w}/m.csv --samples {w}/sample/manifest.json "
        "--renders {w}/renders/manifest.tsv --out {o}",
        "README.md verdict.json",
        True,
    ),
    Command(
        "pretrain vae --renders {w}/renders/manifest.tsv --out {o}/vae.safetensors",
        "vae.safetensors vae.jsonl vae.safetensors.provenance.json state/vae/state.pt",
    ),
    Command("bench.training_memory --out {o}/memory.csv", "memory.csv"),
    Command("bench --no-demo --full-size off --out {o}/bench.json", "bench.json"),
    Command("checkpoints release {w}/release --out {o}", "student.safetensors recon.safetensors", True),
    Command("objects.frames export {w}/renders --out {o}", "0/0/00000/00000.png", True),
    Command("objects.curate --package {w}/none --out {o}/list.tsv", "list.tsv"),
    Command("objects.curate --package {w}/none --out {w}/new.tsv --scratch {o}", "scopia-chair.glb", True),
]


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "_CLAIMS", {})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Inputs of every command, as small as they may be."""
    folder = tmp_path_factory.mktemp("world")
    write_renders(folder / "renders")
    (folder / "meshes").mkdir()
    glb = min((PROJECT_ROOT / "assets/objects").glob("*.glb"), key=lambda path: path.stat().st_size)
    shutil.copyfile(glb, folder / "meshes/box.glb")
    shutil.copyfile(glb, folder / "meshes/other.glb")
    settings = tiny_settings(steps=1) | {
        "objects": {"sets": {"mine": {"source": "folder", "path": str(folder / "meshes"), "split": "all"}}},
        "sample": {"methods": {"m": {"steps": 1}}},
        "evaluate": {"protocol": write_protocol(folder / "tiny.yaml")},
    }
    settings["render"]["max_failure_rate"] = 1.0
    (folder / "c.yaml").write_text(yaml.safe_dump(settings))
    columns = ["id", "path", "sha256", "licence", "creator", "source", "split", "status", "reason"]
    row = ["gone", "", "", "CC0-1.0", "A. Maker", "test", "train", "failed", "HTTP 404"]
    (folder / "objects.tsv").write_text("\t".join(columns) + "\n" + "\t".join(row) + "\n")
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((12, 12, 50, 50), fill=(200, 30, 30, 255))
    picture.save(folder / "photo.png")
    for name in ("release", "results", "none"):
        (folder / name).mkdir()
    for name in ("m.csv", "r.csv", "f.json"):
        (folder / name).write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ownership, "_CLAIMS", {})
        assert run(patch, COMMANDS[3], folder, folder / "sample") == 0
    yield folder


def run(monkeypatch: pytest.MonkeyPatch, command: Command, world: Path, out: Path, *more: str) -> int:
    """Exit status of the command."""
    module, *arguments = command.line.format(w=world, o=out).split()
    monkeypatch.setattr(sys, "argv", [module, *arguments, *more])
    try:
        runpy.run_module(f"aligncvc.{module}", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"the user's own " + path.name.encode())


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_file_of_another_origin_stops_the_command_before_work(
    command: Command, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Each name that the command writes, one at a time, is there already and somebody else's."""
    inputs = contents(world)
    for name in command.writes.split():
        out = tmp_path / "out"
        put(out / name)
        put(out / "notes.log")  # may lie in any folder
        before = contents(out)
        capsys.readouterr()
        status, error = run(monkeypatch, command, world, out), capsys.readouterr().err
        assert contents(out) == before, f"{name} with {command.line}"
        assert status == 2 and len(error.splitlines()) == 1, error
        said = "holds files that this program did not make" if command.folder else "was not written by this"
        assert said in error and name in error and "--force" in error
        shutil.rmtree(out)
    assert contents(world) == inputs


@pytest.mark.parametrize("command", [COMMANDS[i] for i in (0, 1, 2, 3, 4, 5)], ids=str)
def test_a_second_run_works_and_leaves_the_users_files(
    command: Command, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The user's files lie in every folder that the first run left."""
    out = tmp_path / "out"
    assert run(monkeypatch, command, world, out) == 0, capsys.readouterr().err
    ours = contents(out).keys()
    folders = [out, *(path for path in out.rglob("*") if path.is_dir()), out / "state"]
    theirs = [folder / name for folder in folders for name in ("notes.txt", "mine.glb", "mine.png")]
    for path in theirs:
        put(path)
    ownership._CLAIMS.clear()
    assert run(monkeypatch, command, world, out) == 0, capsys.readouterr().err
    after = contents(out)
    assert after.keys() == ours | {path.relative_to(out).as_posix() for path in theirs}
    assert all(path.read_bytes() == b"the user's own " + path.name.encode() for path in theirs)
    for name in command.writes.split():  # and as Snakemake prepares a rerun
        if name.startswith(("manifest", "contact_sheet", "student", "recon", "metrics")):
            (out / name).unlink()
    ownership._CLAIMS.clear()
    assert run(monkeypatch, command, world, out) == 0, capsys.readouterr().err
    assert contents(out).keys() == after.keys()


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_an_output_that_cannot_be_written_stops_the_command_before_work(
    command: Command, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """A file in the place of the folder."""
    put(tmp_path / "file")
    status, error = run(monkeypatch, command, world, tmp_path / "file"), capsys.readouterr().err
    assert status == 2 and len(error.splitlines()) == 1, error
    assert "is a file where a folder is needed" in error
    assert (tmp_path / "file").read_bytes() == b"the user's own file"


@pytest.mark.parametrize("given", ["photo.png", "renders", "objects.tsv", "nothing.yaml"])
def test_a_configuration_that_is_none_is_one_sentence(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, given: str
) -> None:
    command = Command(f"config resolve --config {{w}}/{given}", "")
    status, error = run(monkeypatch, command, world, tmp_path), capsys.readouterr().err
    assert status == 2 and len(error.splitlines()) == 1 and given in error and "--config" in error

"""Five lines of Python: the command's own model, in every format, saved, loaded, pushed and pulled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub_stand_in import COMMIT, hub
from PIL import Image, ImageDraw
from tiny_world import PAIR, tiny_plan, tiny_settings, write_ledger

from aligncvc.config.jobs.sample import PhotoJob
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, sha256_file
from aligncvc.loop.unroll import KeptStep
from aligncvc.meshes.files import load_mesh
from aligncvc.models.ledger.ledger import load_ledger
from aligncvc.models.ledger.weights import NETWORK, network_facts, write_facts
from aligncvc.models.pair import PairOfModels, attach_lora, load_pretrained
from aligncvc.models.specs import CheckpointAccess
from aligncvc.pipeline.pipeline import Pipeline
from aligncvc.pipeline.saved_pair import licence_of, read_pair
from aligncvc.sample.photo import sample_photo
from aligncvc.sample.sets import pair_for
from aligncvc.scene.gaussians import is_viewer_ply, load_ply


@pytest.fixture
def picture() -> Image.Image:
    """A red disc on transparency."""
    image = Image.new("RGBA", (120, 120), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((20, 20, 100, 100), fill=(200, 30, 30, 255))
    return image


def photo_job(steps: int = 2, run: str | None = None, **changes: Any) -> PhotoJob:
    data = tiny_settings()
    method = {"steps": steps, "run": run}
    data |= {"paper": {"turntable_views": 2}, "sample": {"methods": {"m": method}}, **changes}
    return tiny_plan(data).photo(PAIR, "m")


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    """Two steps of the tiny pair with random weights."""
    job = photo_job()
    return Pipeline(job, load_pretrained(job.sample.pair))


def write_run(folder: Path, pair: PairOfModels) -> Path:
    """An alignment run whose LoRA does something and whose reconstructor is moved a little."""
    parameters = attach_lora(pair.generator, 4, 0)
    moved = {name: value + 0.2 for name, value in parameters.items()}
    of_generator = {NETWORK: network_facts(pair.spec.generator)}
    write_facts(folder / "student.safetensors", moved, of_generator)
    state = {name: value * 1.01 for name, value in pair.reconstructor.state_dict().items()}
    write_facts(folder / "recon.safetensors", state, {NETWORK: network_facts(pair.spec.reconstructor)})
    return folder


def test_the_model_is_the_commands(pipe: Pipeline, picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "disc.png")
    ply, *_ = sample_photo(pipe.job, tmp_path / "disc.png", tmp_path / "command.ply", seed=3)
    for photo in (picture, tmp_path / "disc.png", str(tmp_path / "disc.png")):
        saved = pipe(photo, seed=3).save(tmp_path / "mine.ply")
        assert saved.read_bytes() == ply.read_bytes()
    assert pipe(picture, seed=4).save(tmp_path / "other.ply").read_bytes() != ply.read_bytes()


def test_views_and_renderings_of_every_step(pipe: Pipeline, picture: Image.Image) -> None:
    made = pipe(picture, steps=3)
    assert made.views.shape == made.renderings.shape == (3, 4, 3, 32, 32)
    assert made.job.sample.timesteps == [999, 666, 333] and pipe.job.sample.steps == 2
    assert made.image.shape == (3, 32, 32) and len(made.gaussians) > 0
    with pytest.raises(UserError, match="steps = 1001 must be 1 to 1000"):
        pipe(picture, steps=1001)


def test_steps_are_told_as_they_are_made(pipe: Pipeline, picture: Image.Image) -> None:
    told: list[KeptStep] = []
    made = pipe(picture, steps=3, on_step=told.append)
    assert [(step.index, step.steps) for step in told] == [(0, 3), (1, 3), (2, 3)]
    assert torch.equal(torch.stack([step.views for step in told]), made.views)
    assert torch.equal(torch.stack([step.renderings for step in told]), made.renderings.clamp(0, 1))


def test_a_doubtful_picture_is_warned_of(pipe: Pipeline) -> None:
    image = Image.new("RGBA", (120, 120), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((0, 20, 100, 100), fill=(200, 30, 30, 255))
    with pytest.warns(UserWarning, match="the picture: the object touches the picture's edge"):
        made = pipe(image)
    assert len(made.doubts) == 1


def test_listed_timesteps_are_used_for_their_number_of_steps() -> None:
    timesteps = {2: [900, 100], 4: [999, 749, 599, 299]}
    data = tiny_settings() | {"sample": {"timesteps": timesteps, "methods": {"m": {"steps": 4}}}}
    job = tiny_plan(data).photo(PAIR, "m")
    assert job.with_steps(2).sample.timesteps == [900, 100]
    assert job.with_steps(3).sample.timesteps == [999, 666, 333]


def test_the_name_says_what_is_written(pipe: Pipeline, picture: Image.Image, tmp_path: Path) -> None:
    made = pipe(picture)
    assert is_viewer_ply(made.save(tmp_path / "a.ply"))
    raw = made.save(tmp_path / "raw.ply", raw=True)
    torch.testing.assert_close(load_ply(raw).means, made.gaussians.means)
    assert "gs-viewer" in made.save(tmp_path / "a.html").read_text()
    with Image.open(made.save(tmp_path / "a.webp")) as animation:
        assert animation.n_frames == 2
    with Image.open(made.save(tmp_path / "a.png")) as image:
        assert image.size == (32, 32)
    with pytest.raises(UserError, match=r"must end in .ply, .glb"):
        made.save(tmp_path / "a.obj")
    (tmp_path / "mine.ply").write_text("a stranger's")
    with pytest.raises(UserError, match="was not written by this program"):
        made.save(tmp_path / "mine.ply")
    assert (tmp_path / "mine.ply").read_text() == "a stranger's"


@pytest.mark.slow
def test_the_bundled_pair_makes_a_mesh(picture: Image.Image, tmp_path: Path) -> None:
    made = Pipeline.from_pretrained("demo")(picture, steps=1)
    assert len(load_mesh(made.save(tmp_path / "a.glb")).faces) > 100


def test_a_model_without_a_surface_says_so(pipe: Pipeline, picture: Image.Image, tmp_path: Path) -> None:
    made = pipe(picture)
    made.gaussians.opacities.zero_()
    with pytest.raises(UserError, match=r"too translucent.*save it as .ply"):
        made.save(tmp_path / "a.glb")


def aligned_pipe(folder: Path, **options: Any) -> tuple[Pipeline, Pipeline]:
    """The tiny pair with weights of its own and a trained run, and the same pair before the run."""
    start = load_pretrained(photo_job().sample.pair)
    unet = folder / "unet.safetensors"
    write_facts(unet, start.generator.parts()["unet"].state_dict(), {})
    ledger = write_ledger(folder / "ledger.yaml", {"my-unet": unet})
    settings = tiny_settings()
    settings["pairs"][PAIR]["generator"]["weights"] = {"unet": "my-unet"}
    changes = {"pairs": settings["pairs"], "checkpoints": {"ledger": ledger}}
    job, before = photo_job(run="both", **changes), photo_job(**changes)
    run = write_run(folder / "run", load_pretrained(before.sample.pair, before.checkpoints))
    return Pipeline(job, pair_for(job.sample, run), run, **options), Pipeline(before, pair_for(before.sample))


def test_a_saved_pair_gives_the_same_model(picture: Image.Image, tmp_path: Path) -> None:
    aligned, before = aligned_pipe(tmp_path, licence="CC-BY-4.0")
    aligned.save_pretrained(tmp_path / "pair")
    (tmp_path / "unet.safetensors").unlink()  # the folder needs nothing of where it came from
    moved = (tmp_path / "pair").rename(tmp_path / "moved")
    loaded = Pipeline.from_pretrained(moved)
    wanted = aligned(picture).gaussians.means
    assert torch.equal(loaded(picture).gaussians.means, wanted)
    assert not torch.allclose(before(picture).gaussians.means, wanted)
    ledger = yaml.safe_load((moved / "checkpoints.yaml").read_text())["checkpoints"]
    assert ledger["aligned-recon"]["licence"] == "CC-BY-4.0"
    for name in ("my-unet", "aligned-student", "aligned-recon"):
        file = moved / ledger[name]["source"].removeprefix("file:")
        assert ledger[name]["sha256"] == sha256_file(file)
    card = (moved / "README.md").read_text()
    assert 'from_pretrained("pair")' in card and "alignment run `both`" in card
    assert card.startswith("---\n") and yaml.safe_load(card.split("---")[1])["license"] == "apache-2.0"
    loaded.save_pretrained(tmp_path / "again")  # and on from there
    assert torch.equal(Pipeline.from_pretrained(tmp_path / "again")(picture).gaussians.means, wanted)


def test_damaged_weights_of_a_saved_pair_are_refused(tmp_path: Path) -> None:
    aligned_pipe(tmp_path)[0].save_pretrained(tmp_path / "pair")
    file = tmp_path / "pair/recon.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match="is not checkpoint aligned-recon: expected sha256"):
        Pipeline.from_pretrained(tmp_path / "pair")


def test_a_pair_that_names_foreign_code_is_not_run(pipe: Pipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "pair")
    config = tmp_path / "pair/config.json"
    config.write_text(config.read_text().replace('"feedback": "aligncvc"', '"feedback": "somebodys.rule"'))
    with pytest.raises(UserError, match=r"runs code of somebodys\.rule.*trust_code=True"):
        Pipeline.from_pretrained(tmp_path / "pair")
    assert read_pair(tmp_path / "pair", CheckpointAccess(), True).sample.feedback == "somebodys.rule"


def test_licences_of_what_a_run_was_trained_from() -> None:
    ledger = load_ledger()
    assert licence_of(ledger, ["demo-vae", "demo-recon"]) == "Apache-2.0"
    assert licence_of(ledger, ["demo-vae", "wonder3d-plus-unet"]) == "AGPL-3.0"


def test_what_is_not_there_is_one_sentence(pipe: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no saved pair at nowhere; give 'demo', an existing folder"):
        Pipeline.from_pretrained("nowhere")
    with pytest.raises(UserError, match=r"holds no saved pair \(config.json and checkpoints.yaml\)"):
        Pipeline.from_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("a stranger's")
    with pytest.raises(UserError, match=r"holds files that this program did not make \(README.md\)"):
        pipe.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="pairs does not define 'other'"):
        Pipeline.from_config(pair="other")


def test_importing_the_package_stays_light() -> None:
    script = "import aligncvc, sys; assert 'Pipeline' in dir(aligncvc); print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT / "src")}
    found = subprocess.run([sys.executable, "-c", script], env=environment, text=True, capture_output=True)
    assert found.stdout == "False\n", found.stderr
    import aligncvc

    assert aligncvc.Pipeline is Pipeline
    with pytest.raises(AttributeError, match="has no attribute 'Pipelin'"):
        _ = aligncvc.Pipelin  # type: ignore[attr-defined]


def test_push_and_pull_through_a_hub_on_this_machine(tmp_path: Path) -> None:
    """Separate processes, since the client reads the hub's address when it is imported."""
    with hub() as (address, files):
        environment = os.environ | {
            "PYTHONPATH": str(PROJECT_ROOT / "src"), "HF_ENDPOINT": address, "HF_TOKEN": "nobodys",
            "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "0",
        }  # fmt: skip

        def command(*words: str) -> subprocess.CompletedProcess[str]:
            line = [sys.executable, "-m", "aligncvc", "pipeline", *words]
            return subprocess.run(line, env=environment, text=True, capture_output=True, cwd=tmp_path)

        smoke = ("--config", str(PROJECT_ROOT / "config/smoke.yaml"), "--method", "aware_2")
        pushed = command("push", "nobody/pair", *smoke, "--set", "seed=5")
        assert pushed.returncode == 0 and COMMIT in pushed.stdout, pushed.stderr
        assert sorted(files) == ["README.md", "checkpoints.yaml", "config.json"]
        assert b'from_pretrained("nobody/pair")' in files["README.md"]
        pulled = command("pull", "nobody/pair", "--out", "mine")
        assert pulled.returncode == 0, pulled.stderr
        assert (tmp_path / "mine/config.json").read_bytes() == files["config.json"]
        assert Pipeline.from_pretrained(tmp_path / "mine").job.seed == 5
        missing = command("pull", "nobody/other", "--out", "other")
        assert missing.returncode == 2 and missing.stderr.count("\n") == 1
        assert "the pair nobody/other could not be fetched" in missing.stderr

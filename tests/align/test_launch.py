"""A run's precision, by its configuration or by a real `accelerate launch`, and who follows its numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate.tracking import GeneralTracker
from tiny_world import align_job

from aligncvc.align.launch import AVAILABLE, FOLDER, LAUNCHED, accelerator_for, flat, precision
from aligncvc.align.train import run_key, train
from aligncvc.align.trainer import Trainer
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.scene.renderset import RenderSet


class Memory(GeneralTracker):
    """A tracker that remembers what it was told."""

    name = "memory"
    requires_logging_directory = True
    told: ClassVar[list[Any]] = []

    def __init__(self, run_name: str, logging_dir: str) -> None:
        super().__init__()
        self.told.append((run_name, logging_dir))

    @property
    def tracker(self) -> list[Any]:
        return self.told

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append(values)

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.told.append((step, values))

    def finish(self) -> None:
        self.told.append("finished")


MEMORY = f"{Memory.__module__}.{Memory.__name__}"


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("bf16", "launched", "wanted"),
    [
        (None, None, "no"),
        (None, "no", "no"),
        (None, "bf16", "bf16"),
        (True, None, "bf16"),
        (True, "no", "bf16"),
        (False, "no", "no"),
    ],
)
def test_the_launcher_decides_where_the_configuration_does_not(
    bf16: bool | None, launched: str | None, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LAUNCHED, raising=False)
    if launched is not None:
        monkeypatch.setenv(LAUNCHED, launched)
    assert precision(bf16) == wanted


@pytest.mark.parametrize(
    ("bf16", "launched", "sentence"),
    [(False, "bf16", "align.bf16: false"), (None, "fp16", "precision fp16"), (True, "fp8", "precision fp8")],
)
def test_a_contradiction_is_one_sentence(
    bf16: bool | None, launched: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LAUNCHED, launched)
    with pytest.raises(UserError, match=sentence) as caught:
        precision(bf16)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("bf16", [None, False])
def test_accelerate_launch_is_honoured_or_contradicted(
    renders: Path, tmp_path: Path, bf16: bool | None
) -> None:
    align_job("soft", steps=1, bf16=bf16).write(tmp_path / "job.json")
    out = tmp_path / "run"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1",
               "--num_machines", "1", "--dynamo_backend", "no", "--mixed_precision", "bf16",
               "-m", "aligncvc.align", "--settings", str(tmp_path / "job.json"), "--renders", str(renders),
               "--out", str(out)]  # fmt: skip
    paths = [str(PROJECT_ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, env=environment, text=True, capture_output=True, cwd=tmp_path)
    if bf16 is None:
        assert found.returncode == 0, found.stderr
        provenance = json.loads((out / "student.safetensors.provenance.json").read_text())
        assert provenance["precision"] == "bf16"
        job = align_job("soft", steps=1)
        plain = Trainer(job, RenderSet(renders, 32), accelerator_for(job.training))
        assert metrics(out)[0]["loss_soft"] != plain.step(0)["loss_soft"]  # it was not float32
    else:
        assert found.returncode != 0 and not out.exists()
        said = [line for line in found.stderr.splitlines() if line.startswith("error: ")]
        assert len(said) == 1 and "align.bf16: false" in said[0]


def test_a_state_is_of_its_precision_and_trackers_do_not_count(renders: Path) -> None:
    images = RenderSet(renders, 32)
    job, watched = align_job(), align_job(trackers=["tensorboard"])
    assert watched.hash == job.hash and watched.text != job.text
    assert run_key(job, images, 1, "f") == run_key(watched, images, 1, "f")
    assert run_key(job, images, 1, "f") != run_key(job, images, 1, "f", "bf16")


def test_a_tracker_of_ones_own_is_told_every_step(renders: Path, tmp_path: Path) -> None:
    Memory.told.clear()
    train(align_job("soft", steps=2, trackers=[MEMORY]), renders, tmp_path / "run")
    made, settings, *steps, end = Memory.told
    assert made == ("aligncvc", str(tmp_path / "run" / FOLDER)) and end == "finished"
    assert settings["training.lr_student"] == 5e-4 and settings["run"] == "soft"
    wanted = metrics(tmp_path / "run")
    assert [step for step, _ in steps] == [record.pop("step") for record in wanted] == [0, 1]
    assert [values for _, values in steps] == wanted


def test_tensorboard_has_the_numbers_of_the_log(renders: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(align_job("soft", steps=2, trackers=["tensorboard"]), renders, tmp_path)
    events = EventAccumulator(str(tmp_path / FOLDER / "aligncvc")).Reload()
    for name in ("loss_soft", "grad_student"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(r["step"], pytest.approx(r[name])) for r in metrics(tmp_path)]


def test_wandb_stays_on_this_machine(renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    train(align_job("soft", steps=1, trackers=["wandb"]), renders, tmp_path / "run")
    (run,) = (tmp_path / "run" / FOLDER / "wandb").glob("offline-run-*")
    assert any(run.glob("*.wandb"))
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", [*AVAILABLE, "no.such.Tracker", "pathlib.Path"])
def test_a_tracker_that_is_not_there_is_one_sentence_before_any_work(
    name: str, renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in AVAILABLE:
        monkeypatch.setitem(AVAILABLE, known, lambda: False)
    with pytest.raises(UserError, match=rf"align.trackers has {name}, ") as caught:
        train(align_job("soft", trackers=[name]), renders, tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_a_tracker_has_a_known_or_a_dotted_name() -> None:
    with pytest.raises(UserError, match=r"align.trackers.0"):
        align_job(trackers=["tensorbord"])


def test_settings_are_told_flat() -> None:
    assert flat({"a": {"b": 1, "c": None}, "d": [1, 2], "e": True}) == {"a.b": 1, "d": "[1, 2]", "e": True}

"""What reruns after which edit: just the stages concerned, and nothing for the looks of the code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from workflow_copy import snakemake

from aligncvc.models.ledger.ledger import load_ledger

Planned = Callable[..., dict[str, int]]
PAPER = {"table": 2, "costs": 1, "figures": 1, "report": 1}
"""What is made of the records."""


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_second_run_has_nothing_to_do(checkout: Path) -> None:
    assert "Nothing to be done" in snakemake(checkout, "--cores", "all").stdout


def test_comment_docstring_and_formatting_rerun_nothing(checkout: Path, planned: Planned) -> None:
    for name in ("errors.py", "scene/cameras.py", "align/__init__.py", "sample/__init__.py"):
        append(checkout / "src/aligncvc" / name, '\n# a comment\n"""a string that does nothing"""\n')
    assert planned() == {}


def test_edit_of_a_late_stage_reruns_it_alone(checkout: Path, planned: Planned) -> None:
    append(checkout / "src/aligncvc/paper/__init__.py", "\nEDITED = True\n")
    assert planned() == {**PAPER, "reported": 1}


def test_edit_of_sampling_leaves_data_and_alignment(checkout: Path, planned: Planned) -> None:
    append(checkout / "src/aligncvc/sample/__init__.py", "\nEDITED = True\n")
    found = planned()
    assert found["sample"] == 17 and found["control"] == 4 and found["evaluate"] == 21
    assert not {"objects", "renders", "align", "checkpoints"} & found.keys()


def test_edit_of_a_shared_module_reruns_the_stages_that_import_it(checkout: Path, planned: Planned) -> None:
    append(checkout / "src/aligncvc/loop/unroll.py", "\nEDITED = True\n")
    found = planned()
    assert found["align"] == 4 and found["sample"] == 17
    assert not {"objects", "renders", "checkpoints"} & found.keys()


def test_edit_of_the_kernel_reruns_what_rasterises(checkout: Path, planned: Planned) -> None:
    kernel = next((checkout / "src/aligncvc/splat").glob("*.c"))
    append(kernel, "\n/* a comment */\n")
    assert planned() == {}
    append(kernel, "\nint edited(void) { return 1; }\n")
    found = planned()
    assert found["align"] == 4 and "renders" not in found and "objects" not in found


def test_configuration_reruns_only_its_readers(planned: Planned) -> None:
    assert planned("--config", "paper={showcase: 3}") == PAPER
    assert planned("--config", "pretrain={recon: {lr: 0.5}}") == {}


def test_a_folder_of_meshes_that_changes_is_fetched_again(checkout: Path, planned: Planned) -> None:
    first, second = sorted((checkout / "assets/objects").glob("*.glb"))[:2]
    (checkout / "meshes").mkdir()
    shutil.copy(first, checkout / "meshes/{a} b.glb")
    target = "results/objects/mine/manifest.tsv"
    mine = (target, "--config", "objects={sets: {mine: {source: folder, path: meshes}}}")
    snakemake(checkout, "--cores", "1", *mine)
    assert planned(*mine) == {}
    shutil.copy2(second, checkout / "meshes/more.glb")  # older than the manifest
    assert planned(*mine) == {"objects": 1}


def test_an_alignment_weight_reruns_from_alignment(planned: Planned) -> None:
    found = planned("--config", "align={lambda_hard: 0.5}")
    assert found["align"] == 4
    assert not {"objects", "renders", "checkpoints"} & found.keys()
    # The methods that use pretrained or bundled weights are not sampled again.
    assert found["sample"] == 4


def with_protocol(checkout: Path, old: str, new: str) -> str:
    """The option for the demo's protocol with one change, in a file of its own."""
    folder = checkout / "config/protocols"
    text = (folder / "demo.yaml").read_text()
    assert old in text
    (folder / "mine.yaml").write_text(text.replace(old, new))
    return "evaluate={protocol: mine}"


def test_a_protocol_reruns_what_it_decides(checkout: Path, planned: Planned) -> None:
    late = {**PAPER, "evaluate": 21, "discrimination": 1}
    scored, seeds = "scored: ring, input_view: true", "seeds: [0]"
    held_out = with_protocol(checkout, scored, "scored: held_out, input_view: false")
    assert planned("--config", held_out) == late
    assert planned("--config", with_protocol(checkout, seeds, "seeds: [0, 1]")) == {
        **late,
        "sample": 17,
        "control": 4,
    }
    finer = planned("--config", with_protocol(checkout, "samples: 16", "samples: 32"))
    assert finer == {**late, "renders": 1, "sample": 17, "control": 4}
    assert planned("--config", "evaluate={protocol: demo}") == {}


def test_stages_read_the_settings_of_this_run(checkout: Path) -> None:
    """Settings that an earlier run left behind are replaced before any job starts."""
    settings = checkout / "results/settings/sample/wonder3d+lgm/aware_4.json"
    settings.write_text('{"seed": 77}')
    snakemake(checkout, "-n", "--config", "seed=5")
    assert '"seed": 5' in settings.read_text()


def test_what_a_job_does_not_use_makes_it_not_stale(checkout: Path, planned: Planned) -> None:
    """A wording, a line of the ledger, another kind of network, another feedback, the page's script."""
    source = checkout / "src/aligncvc"
    alignment = source / "config/jobs/align.py"
    alignment.write_text(alignment.read_text().replace("objects a step", "objects in each step"))
    ledger = checkout / "config/checkpoints.yaml"
    text = ledger.read_text()
    entry = "  mine:\n    what: w\n    source: file:mine.bin\n    licence: MIT\n"
    ledger.write_text(text.replace("checkpoints:\n", "checkpoints:\n" + entry, 1))
    for kind in ("generators/other", "reconstructors/other"):
        folder = source / "models" / kind
        folder.mkdir()
        for name in ("__init__.py", "settings.py", "network.py"):
            (folder / name).write_text("OTHER = 1\n")
    (source / "loop/other.py").write_text("OTHER = 1\n")
    assert planned() == {}
    append(source / "viewer/templates/viewer.js", "\nlet edited = 1;\n")
    assert set(planned()) <= {*PAPER, "reported"}


def test_a_kind_of_network_reruns_what_it_is_in(checkout: Path, planned: Planned) -> None:
    append(checkout / "src/aligncvc/models/generators/wonder3d/network.py", "\nEDITED = True\n")
    found = planned()
    assert found["align"] == 4 and found["sample"] == 17 and "control" not in found, "the judge has no part"
    assert not {"objects", "renders", "checkpoints"} & found.keys()


def test_other_bytes_rerun_what_reads_them_in_one_call(checkout: Path, planned: Planned) -> None:
    """A job that runs hides what else is stale downstream of it, so a check is above its readers alone."""
    ledger = checkout / "config/checkpoints.yaml"
    recorded = str(load_ledger(ledger).entry("demo-recon").sha256)
    ledger.write_text(ledger.read_text().replace(recorded, "a" * 64))
    found = planned("--config", "evaluate={must_discriminate: []}")
    assert found == {
        "checkpoints": 1, "align": 3, "sample": 15, "control": 4, "evaluate": 21, "discrimination": 1, **PAPER
    }  # fmt: skip


def test_a_pair_with_new_weights_is_one_call(planned: Planned) -> None:
    """What was there stays, and what shows all pairs is made anew."""
    other = "{generator: demo-videomv, reconstructor: demo-lgm, rig: orbit8, reconstruct: [0, 2, 4, 6]}"
    rig = "{orbit8: {azimuths_deg: [0, 45, 90, 135, 180, 225, 270, 315]}}"
    found = planned("--config", f"pairs={{other: {other}}}", f"rigs={rig}")
    assert found == {"checkpoints": 1, "align": 1, "sample": 2, "evaluate": 2, **PAPER}

"""The ledger: typed, honest about what is unknown, edited without losing a comment."""

from __future__ import annotations

from pathlib import Path

import pytest

from aligncvc.errors import UserError
from aligncvc.models.kinds import complete, known_kinds
from aligncvc.models.ledger.ledger import PERMISSIVE_LICENCES, load_ledger, meaning, record

TEXT = """\
version: 1
checkpoints:
  # one of ours
  tiny:
    what: a file
    source: file:{file}
    sha256: null
    bytes: null
    licence: MIT
    notes: {{note: kept}}

  # from a hub
  far:
    what: another
    source: hub:some-one/model.v1:folder/weights.safetensors
    sha256: null
    licence: MIT
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.yaml"
    path.write_text(TEXT.format(file=tmp_path / "tiny.bin"), encoding="utf-8")
    return path


def test_the_projects_ledger_is_valid_and_covers_what_the_code_asks_for() -> None:
    entries = load_ledger().checkpoints
    assert {
        "lite0",
        "u2netp",
        "lpips-alex-trunk",
        "lpips-vgg-trunk",
        "lpips-alex-heads",
        "lpips-vgg-heads",
        "demo-vae",
        "demo-teacher",
        "demo-recon",
    } <= entries.keys()
    for name, entry in entries.items():
        if entry.kind == "package":
            assert entry.sha256 and entry.bytes, name
            assert entry.licence in PERMISSIVE_LICENCES, name
        if entry.kind == "hub" and entry.sha256:
            assert entry.revision, f"{name}: a hash without the commit it belongs to"
        if entry.licence not in PERMISSIVE_LICENCES:
            assert meaning(entry.licence) != meaning("no such licence"), f"{name}: nobody says what it means"


def test_a_group_stands_for_its_members(ledger: Path) -> None:
    project = load_ledger()
    assert project.members("lgm-releases") == ["lgm-fixrot", "lgm-original"]
    assert project.members("demo-wonder3d") == ["demo-teacher", "demo-vae"], "a model stands for its files"
    assert project.members("lite0") == ["lite0"]
    with pytest.raises(UserError, match="lgm-releases stands for several checkpoints; choose one of lgm-fix"):
        project.entry("lgm-releases")
    with pytest.raises(UserError, match="did you mean"):
        project.members("lgm-releasess")
    ledger.write_text(ledger.read_text() + "groups:\n  two:\n    what: both\n    members: [tiny, gone]\n")
    with pytest.raises(UserError, match=r"group two: \['gone'\]"):
        load_ledger(ledger)


def test_a_model_says_what_network_its_weights_are(ledger: Path) -> None:
    project = load_ledger()
    model = project.model("lgm-big", "reconstructors")
    assert model.network["preset"] == "big" and model.weights == {"recon": "lgm-fixrot"}
    with pytest.raises(UserError, match="no model 'lgm-bigg' among the reconstructors; did you mean lgm-big"):
        project.model("lgm-bigg", "reconstructors")
    with pytest.raises(UserError, match="no model 'lgm-big' among the generators"):
        project.model("lgm-big", "generators")
    text = "models:\n  mine: {what: w, role: generators, network: {kind: wonder3d}, weights: {unet: gone}}\n"
    ledger.write_text(ledger.read_text() + text)
    with pytest.raises(UserError, match="model mine: gone must be checkpoints of their own"):
        load_ledger(ledger)


def test_every_model_of_the_ledger_is_a_network_that_can_be_built() -> None:
    for name, model in load_ledger().models.items():
        kind, network = complete(model.role, model.network, name)
        assert kind in known_kinds(model.role) and network


def test_sources_come_apart(ledger: Path) -> None:
    far = load_ledger(ledger).entry("far")
    assert far.kind == "hub" and far.revision is None
    assert (far.parts["repo"], far.parts["path"]) == ("some-one/model.v1", "folder/weights.safetensors")


def test_unknown_id_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean demo-teacher"):
        load_ledger().entry("demo-techer")
    with pytest.raises(UserError, match=r"known ids: .*lite0"):
        load_ledger().entry("zzzzzzzzzz")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("licence: MIT", "licens: MIT", "licens"),
        ("sha256: null", "sha256: abc", "sha256"),
        (
            "source: hub:some-one/model.v1:folder/weights.safetensors",
            "source: http://x/y",
            "checkpoints.far.source",
        ),
        ("version: 1", "version: 2", "version"),
        ("checkpoints:", "checkpoints: [", "not YAML"),
    ],
)
def test_a_wrong_ledger_is_refused_with_the_place(ledger: Path, old: str, new: str, message: str) -> None:
    ledger.write_text(ledger.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        load_ledger(ledger)


def test_a_missing_ledger_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no ledger"):
        load_ledger(tmp_path / "none.yaml")


def test_record_changes_one_entry_and_keeps_everything_else(ledger: Path) -> None:
    before = ledger.read_text()
    record("far", "a" * 64, 12, revision="0f" * 20, path=ledger)
    after = load_ledger(ledger)
    far, tiny = after.entry("far"), after.entry("tiny")
    assert (far.sha256, far.bytes, far.revision) == ("a" * 64, 12, "0f" * 20)
    assert tiny.sha256 is None and tiny.notes == {"note": "kept"}
    with pytest.raises(
        UserError, match=f"pins far to sha256 {'a' * 64}, and the file has {'b' * 64}; .*--force"
    ):
        record("far", "b" * 64, 13, revision="1e" * 20, path=ledger)
    assert load_ledger(ledger) == after
    for size, revision, words in ((12, "1e" * 20, f"revision {'0f' * 20}"), (13, None, "size 12 bytes")):
        with pytest.raises(UserError, match=f"pins far to {words}, .*--force"):
            record("far", "a" * 64, size, revision=revision, path=ledger)
    assert load_ledger(ledger) == after
    record("far", "a" * 64, 12, revision="0f" * 20, path=ledger)  # the same once more is no news
    record("far", "b" * 64, 13, revision="1e" * 20, path=ledger, force=True)
    assert load_ledger(ledger).entry("far").revision == "1e" * 20
    untouched = [line for line in before.splitlines() if "hub:" not in line]
    assert [line for line in ledger.read_text().splitlines() if line in untouched] == [
        line
        for i, line in enumerate(before.splitlines())
        if "hub:" not in line
        and not (line.strip() == "sha256: null" and i > before.splitlines().index("  far:"))
    ]


def test_record_refuses_a_revision_where_there_is_none(ledger: Path) -> None:
    with pytest.raises(UserError, match="no revision"):
        record("tiny", "a" * 64, 1, revision="abc", path=ledger)

"""Nothing of a configuration or a file reaches a shell, an interpreter or a network unasked."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from workflow_copy import copy_checkout

from aligncvc.files import PROJECT_ROOT
from aligncvc.privacy import CACHES, NO_REPORTS

RULES = sorted((PROJECT_ROOT / "workflow").rglob("*.smk"))
SPIES = """
import os, sys
def tell(event, given):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        if event == "socket.getaddrinfo" or not isinstance(given[1], (str, bytes)):
            with open(os.environ["SPIED"], "a") as file:
                file.write(f"{event} {given[1:] if event == 'socket.connect' else given[:2]}\\n")
sys.addaudithook(tell)
"""
"""A sitecustomize that lists every address that Python asks for; sockets of the file system are none."""


def shell_texts(path: Path) -> list[str]:
    """The strings of each `shell:` directive of a file of rules."""
    return re.findall(r"^    shell:\n((?: {8}.*\n?)+)", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_all_that_a_shell_is_given_is_quoted(path: Path) -> None:
    texts = shell_texts(path)
    assert bool(texts) or path.stem == "common"
    words = re.findall(r"^\s*(?:shell|run|script|wrapper)\s*[:(]", path.read_text(), re.MULTILINE)
    assert len(words) == len(texts), "a shell or a script is called in a form that this test does not read"
    unquoted = [each for each in re.findall(r"\{[^{}]*\}", "".join(texts)) if not each.endswith(":q}")]
    assert unquoted == []


def test_schedulers_are_given_numbers_and_names_of_rules() -> None:
    """What a profile's commands are filled with cannot be quoted there; none of it is a configuration's."""
    text = "".join(path.read_text() for path in sorted((PROJECT_ROOT / "profiles").glob("*/*.yaml")))
    found = re.findall(r"\{([a-z][\w.]*)\}", text)
    assert set(found) == {"rule", "threads", "resources.mem_mb", "resources.runtime", "resources.gpu"}


def test_the_package_starts_no_shell_and_reads_no_code() -> None:
    """No shell=True, os.system, eval, exec, pickle.load or unsafe YAML; torch reads tensors alone."""
    forbidden = {"os.system", "os.popen", "eval", "exec", "pickle.load", "pickle.loads", "yaml.unsafe_load"}
    found = []
    for path in sorted((PROJECT_ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name, words = (
                ast.unparse(node.func),
                {each.arg: ast.unparse(each.value) for each in node.keywords},
            )
            wrong = name in forbidden or words.get("shell") == "True" or words.get("allow_pickle") == "True"
            wrong |= name == "torch.load" and words.get("weights_only") != "True"
            wrong |= name == "yaml.load" and "SafeLoader" not in ast.unparse(node)
            if wrong:
                found.append(f"{path.name}:{node.lineno} {name}")
    assert found == []


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("results/objects/eval/manifest.tsv", id="objects"),
        pytest.param("results/checkpoints.txt", id="weights"),
        pytest.param("results/align/wonder3d+lgm/both/student.safetensors", id="training",
                     marks=[pytest.mark.blender, pytest.mark.slow]),
        pytest.param("results/report.html", id="everything", marks=[pytest.mark.blender, pytest.mark.slow]),
    ],
)  # fmt: skip
def test_without_any_network_nobody_is_called(target: str, tmp_path: Path) -> None:
    """In a network namespace without routes it works, asks for no address, and writes beside the checkout
    nothing but Snakemake's empty folder."""
    alone = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("a network namespace cannot be made here (unshare --net is not permitted)")
    checkout, elsewhere = copy_checkout(tmp_path / "checkout"), tmp_path / "elsewhere"
    (checkout / "src/sitecustomize.py").write_text(SPIES)
    kept = {name: value for name, value in os.environ.items() if name not in {*NO_REPORTS, *CACHES}}
    homes = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
    for name in (*homes, "TMPDIR", "TMP", "TEMP", "TEMPDIR"):
        kept[name] = str(elsewhere / ("home" if name in homes else "tmp"))
        Path(kept[name]).mkdir(parents=True, exist_ok=True)
    kept |= {"PYTHONPATH": str(checkout / "src"), "SPIED": str(tmp_path / "spied")}
    command = [sys.executable, "-m", "snakemake", "--configfile", "config/smoke.yaml", "--", target]
    found = subprocess.run(
        [*alone, *command],
        cwd=checkout,
        env=kept,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert found.returncode == 0, found.stdout[-3000:]
    assert (checkout / target).is_file()
    spied = tmp_path / "spied"
    assert not spied.exists(), spied.read_text()
    left = sorted(path.relative_to(elsewhere).as_posix() for path in elsewhere.rglob("*") if path.is_file())
    assert left == []

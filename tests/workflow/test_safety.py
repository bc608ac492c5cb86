"""Nothing of a configuration or a file reaches a shell, an interpreter or a network unasked."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from workflow_copy import checkpoint_mark, copy_checkout

from aligncvc.files import PROJECT_ROOT
from aligncvc.privacy import CACHES, NO_REPORTS

RULES = sorted((PROJECT_ROOT / "workflow").rglob("*.smk"))
SPIES = """
import os, sys
ROOTS = tuple(os.environ["SPIED_ROOTS"].split(os.pathsep))
MADE = {"open": 0, "os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1, "sqlite3.connect": 0}
def told(event, given):
    if event == "socket.getaddrinfo":
        return given[:2]
    if event in ("socket.connect", "socket.sendto"):
        return None if isinstance(given[1], (str, bytes)) else given[1:]
    if event not in MADE or not isinstance(given[MADE[event]], (str, bytes, os.PathLike)):
        return None
    if event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return None
    if event.startswith("os.") and given[-1] != -1:  # below an open folder, where files are removed
        return None
    path = os.path.realpath(os.fsdecode(given[MADE[event]]))
    known = path.startswith(ROOTS) or "__pycache__" in path or path in ("/dev/null", "/dev/tty")
    known |= path.startswith(("/proc/", "/dev/shm/pym-"))  # of the kernel; memory that processes share
    return None if known else path
def tell(event, given):
    if event in MADE or event.startswith("socket."):
        if (said := told(event, given)) is not None:
            with open(os.environ["SPIED"], "a") as file:
                file.write(f"{event} {said}\\n")
sys.addaudithook(tell)
"""
"""A sitecustomize that lists every address that Python asks for, and every file that it makes outside some
folders. Sockets of the file system are no addresses."""


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


def run_alone(tmp_path: Path, *command: str | Path) -> Path:
    """Run Python in a copy of the checkout, which is returned, in a network namespace without routes.

    It must end well, ask for no address, and write nothing outside the copy and `tmp_path`; nor into its home
    or its temporary folder, but for folders.
    """
    alone = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("a network namespace cannot be made here (unshare --net is not permitted)")
    checkout, spied = copy_checkout(tmp_path / "checkout"), tmp_path / "spied"
    (checkout / "src/sitecustomize.py").write_text(SPIES)
    kept = {name: value for name, value in os.environ.items() if name not in {*NO_REPORTS, *CACHES}}
    homes = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
    with tempfile.TemporaryDirectory(prefix="alone-") as name:  # names of sockets below it must be short
        elsewhere = Path(name).resolve()
        for variable in (*homes, "TMPDIR", "TMP", "TEMP", "TEMPDIR"):
            kept[variable] = str(elsewhere / ("home" if variable in homes else "tmp"))
            Path(kept[variable]).mkdir(exist_ok=True)
        kept |= {"PYTHONPATH": str(checkout / "src"), "SPIED": str(spied)}
        kept["SPIED_ROOTS"] = os.pathsep.join(map(str, (tmp_path.resolve(), elsewhere)))
        found = subprocess.run(
            [*alone, sys.executable, *map(str, command)],
            cwd=checkout,
            env=kept,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        left = sorted(str(path.relative_to(elsewhere)) for path in elsewhere.rglob("*") if path.is_file())
    assert found.returncode == 0, found.stdout[-3000:]
    assert not spied.exists(), spied.read_text()
    assert left == []
    return checkout


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("results/objects/eval/manifest.tsv", id="objects"),
        pytest.param(checkpoint_mark("lite0"), id="weights"),
        pytest.param("results/align/wonder3d+lgm/both/student.safetensors", id="training",
                     marks=[pytest.mark.blender, pytest.mark.slow]),
        pytest.param("results/report.html", id="everything", marks=[pytest.mark.blender, pytest.mark.slow]),
    ],
)  # fmt: skip
def test_without_any_network_nobody_is_called(target: str, tmp_path: Path) -> None:
    """The workflow needs no network, and writes into the checkout alone."""
    command = ("-m", "snakemake", "--configfile", "config/smoke.yaml", "--", target)
    assert (run_alone(tmp_path, *command) / target).is_file()


@pytest.mark.slow
def test_no_command_calls_anybody_or_writes_elsewhere(tmp_path: Path) -> None:
    """Objects, training, samples, scores, tables and figures in a tiny world, without Blender. The checkout
    gets nothing but its cache."""
    shutil.copytree(PROJECT_ROOT / "tests", tmp_path / "tests")
    before = copy_checkout(tmp_path / "before")
    checkout = run_alone(tmp_path, tmp_path / "tests/faults/every_command.py", tmp_path / "world")
    assert (tmp_path / "world/out-paper-figures/index.json").is_file()
    added = files_of(checkout) - files_of(before) - {"src/sitecustomize.py"}
    assert {name for name in added if not name.startswith(".cache/")} == set()


def files_of(folder: Path) -> set[str]:
    """Files below a folder but Python's compiled ones."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if "__pycache__" not in name}


def test_the_spies_see_what_they_should(tmp_path: Path) -> None:
    """A test that lists nothing is worth as much as its ears."""
    (tmp_path / "sitecustomize.py").write_text(SPIES)
    spied, outside = tmp_path / "spied", tmp_path / "outside"
    doings = (
        "import os, socket, sqlite3\n"
        f"open('{tmp_path}/inside/file', 'w'); open('{outside}', 'w'); open('{outside}').read()\n"
        f"os.mkdir('{outside}.d'); os.rename('{outside}', '{outside}.2'); sqlite3.connect('{outside}.db')\n"
        "try: socket.create_connection(('192.0.2.1', 9), 0.01)\n"
        "except OSError: pass"
    )
    (tmp_path / "inside").mkdir()
    kept = {"PYTHONPATH": str(tmp_path), "SPIED": str(spied), "SPIED_ROOTS": f"{tmp_path}/inside:{spied}"}
    subprocess.run([sys.executable, "-c", doings], env=os.environ | kept, check=True)
    heard = spied.read_text().splitlines()
    made = ["open {}", "os.mkdir {}.d", "os.rename {}.2", "sqlite3.connect {}.db"]
    assert heard[:4] == [each.format(outside) for each in made]
    assert "socket.getaddrinfo ('192.0.2.1', 9)" in heard and len(heard) <= 6

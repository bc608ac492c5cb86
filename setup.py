"""What pyproject.toml cannot say: configuration and demo weights go into the wheel, as aligncvc/data."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
CARRIED = ("config", "assets")
"""Folders of the checkout that keep their paths below aligncvc/data (`aligncvc.home`)."""
BUILD = ".cache/build"
"""Where setuptools works: a `build` folder in the checkout would be found by tools and searches."""


class WithData(build_py):
    def run(self) -> None:
        if self.editable_mode:  # the checkout itself is imported
            return super().run()
        shutil.rmtree(self.build_lib, ignore_errors=True)  # nothing of an earlier build
        super().run()
        for name in CARRIED:
            shutil.copytree(HERE / name, Path(self.build_lib, "aligncvc", "data", name))


(HERE / BUILD).mkdir(parents=True, exist_ok=True)
setup(
    cmdclass={"build_py": WithData},
    options={"build": {"build_base": BUILD}, "egg_info": {"egg_base": BUILD}},
)

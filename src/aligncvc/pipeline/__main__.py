"""`python -m aligncvc.pipeline save|push|pull`: a pair with its method as a folder, here and on the hub."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from aligncvc.config.option import Changes
from aligncvc.errors import cli


@dataclass(kw_only=True)
class _OfConfig:
    config: Path | None = None
    """Configuration file; config/config.yaml if left out."""
    changes: Changes = ()
    pair: str | None = None
    """A key of pairs; the first if left out."""
    method: str | None = None
    """A key of sample.methods; aligncvc_4 if left out."""
    aligned: Path | None = None
    """Folder of the alignment run that the method uses, if its weights are not in the ledger."""
    licence: str | None = None
    """Licence of that run's weights; that of the weights they were trained from if left out."""

    def pipeline(self):  # type: ignore[no-untyped-def]  # its type brings torch
        from aligncvc.pipeline.pipeline import Pipeline

        return Pipeline.from_config(
            self.config,
            changes=self.changes,
            pair=self.pair,
            method=self.method,
            aligned=self.aligned,
            licence=self.licence,
        )


@dataclass(kw_only=True)
class Save(_OfConfig):
    """Write a pair of a configuration, with one method, as a folder with a model card."""

    out: Path
    """Folder to write."""
    force: bool = False
    """Replace files of another origin there."""

    def run(self) -> None:
        self.pipeline().save_pretrained(self.out, force=self.force)
        print(self.out)


@dataclass(kw_only=True)
class Push(_OfConfig):
    """Save a pair of a configuration into a repository of the hub, for which you must be logged in."""

    repo: tyro.conf.Positional[str]
    """owner/name"""
    private: bool = False
    """Make a new repository private."""

    def run(self) -> None:
        print(self.pipeline().push_to_hub(self.repo, private=self.private))


@dataclass(kw_only=True)
class Pull:
    """Bring a pair of the hub onto this machine as a folder."""

    repo: tyro.conf.Positional[str]
    """owner/name"""
    out: Path
    """Folder to write."""
    revision: str | None = None
    """Branch, tag or commit."""
    force: bool = False
    """Replace files of another origin there."""

    def run(self) -> None:
        from aligncvc.files import atomic_path
        from aligncvc.ownership import claim_folder
        from aligncvc.pipeline.pipeline import fetched

        files = [path for path in fetched(self.repo, self.revision).iterdir() if path.is_file()]
        claim_folder(self.out, [path.name for path in files], force=self.force)
        for path in files:
            with atomic_path(self.out / path.name) as temporary:
                shutil.copyfile(path, temporary)
        print(self.out)


COMMANDS: dict[str, Callable[..., Any]] = {"save": Save, "push": Push, "pull": Pull}


def main() -> None:
    tyro.extras.subcommand_cli_from_dict(COMMANDS, description=__doc__).run()


if __name__ == "__main__":
    cli(main)

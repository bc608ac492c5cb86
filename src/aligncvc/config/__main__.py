"""`python -m aligncvc.config`: configurations, protocols, and the files that are made from their types."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro
import yaml
from pydantic import BaseModel

from aligncvc.config import reference as pages
from aligncvc.config.option import Changes
from aligncvc.config.pairing import judged
from aligncvc.config.protocols import Protocol, differences, load_protocol
from aligncvc.config.root import load_config, write_schema
from aligncvc.errors import cli
from aligncvc.files import write_text


def as_yaml(settings: BaseModel, **options: Any) -> str:
    """All settings as YAML, keys in their declared order."""
    return yaml.safe_dump(settings.model_dump(mode="json", **options), sort_keys=False, allow_unicode=True)


def resolve(config: Path | None = None, changes: Changes = ()) -> None:
    """Print a complete, validated configuration: every key, those that were left out with their defaults.

    Args:
        config: YAML file; config/config.yaml if left out.
    """
    print(as_yaml(load_config(config, changes)), end="")


def schema(out: Path | None = None) -> None:
    """Write the JSON schema that snakemake and editors validate against.

    Args:
        out: the file; config/config.schema.json of the checkout if left out.
    """
    write_schema(out or pages.SCHEMA)


def reference() -> None:
    """Write docs/configuration.md, and the table of the presets in docs/protocols.md."""
    write_text(pages.REFERENCE, pages.reference())
    write_text(pages.PROTOCOLS, pages.protocols_page())


def protocols() -> None:
    """Print the presets of config/protocols."""
    print(pages.table())


def protocol(name: str, /) -> None:
    """Print one protocol in full: its hash, then YAML with every default written out."""
    found = _judged(name)
    print(f"# {found.slug}\n{as_yaml(found, exclude={'name', 'judge_facts'})}", end="")


def compare(one: str, other: str, /) -> None:
    """Print the settings in which two protocols differ; exit status 1 if there are any."""
    a, b = _judged(one), _judged(other)
    print(f"{a.slug} / {b.slug}")
    found = differences(a, b)
    print("\n".join(found) or "equal: their numbers may be compared")
    sys.exit(bool(found))


def _judged(name: str) -> Protocol:
    """On the command line a path is relative to the working folder."""
    return judged(load_protocol(str(Path(name).resolve()) if name.endswith((".yaml", ".yml")) else name))


COMMANDS: dict[str, Callable[..., None]] = {
    command.__name__: command for command in (resolve, schema, reference, protocols, protocol, compare)
}


def main() -> None:
    tyro.extras.subcommand_cli_from_dict(COMMANDS, description=__doc__)


if __name__ == "__main__":
    cli(main)

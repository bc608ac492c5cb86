"""`python -m aligncvc.protocols {list,show NAME,diff A B}`: what the presets measure and how they differ."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from aligncvc.errors import cli
from aligncvc.protocols import Protocol, differences, load_protocol, presets


def as_yaml(protocol: Protocol) -> str:
    """The protocol as a file that reads back as the same protocol."""
    data = protocol.model_dump(mode="json", exclude={"name"})
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def listing() -> str:
    """A table of the presets: slug, class, views, size, object list."""
    rows = [("PROTOCOL", "CLASS", "VIEWS", "SIZE", "OBJECTS")]
    for protocol in map(load_protocol, presets()):
        render, views = protocol.render, protocol.views
        scored = views.indices(render.ring_views, render.rig_indices)
        rows.append((protocol.slug, protocol.protocol_class, f"{len(scored)} of {render.ring_views}",
                     f"{render.size_px} px", protocol.objects.list))  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def show(name: str, /) -> None:
    """Print one protocol in full: its hash, then YAML with every default written out."""
    protocol = load_protocol(_here(name))
    print(f"# {protocol.slug}\n{as_yaml(protocol)}", end="")


def list_() -> None:
    """Print the presets of config/protocols."""
    print(listing())


def diff(one: str, other: str, /) -> None:
    """Print the settings in which two protocols differ; exit status 1 if there are any."""
    a, b = load_protocol(_here(one)), load_protocol(_here(other))
    print(f"{a.slug} / {b.slug}")
    found = differences(a, b)
    print("\n".join(found) or "equal: their numbers may be compared")
    sys.exit(bool(found))


def _here(name: str) -> str:
    """On the command line a path is relative to the working folder."""
    return str(Path(name).resolve()) if name.endswith((".yaml", ".yml")) else name


def main() -> None:
    """Command line."""
    import tyro

    tyro.extras.subcommand_cli_from_dict(
        {"list": list_, "show": show, "diff": diff},
        prog="python -m aligncvc.protocols",
        description="Evaluation protocols: list the presets, show one, compare two.",
    )


if __name__ == "__main__":
    cli(main)

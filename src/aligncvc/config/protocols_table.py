"""`python -m aligncvc.config.protocols_table {list,show NAME,diff A B}`: what the presets measure."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from aligncvc.config.protocols import Protocol, differences, load_protocol, presets
from aligncvc.errors import cli


def as_yaml(protocol: Protocol) -> str:
    """The protocol as a file that reads back as the same protocol."""
    data = protocol.model_dump(mode="json", exclude={"name"})
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def table() -> str:
    """The presets as a Markdown table: slug, class, scored views, size, object list."""
    rows = [("protocol", "class", "views scored", "size", "objects")]
    for protocol in map(load_protocol, presets()):
        render, chosen = protocol.render, protocol.objects
        scored = protocol.views.indices(render.ring_views, render.rig_indices)
        limits = [f"split {chosen.split}"] * (chosen.split != "all") + [f"first {chosen.limit}"] * bool(
            chosen.limit
        )
        objects = f"{chosen.list} ({', '.join(limits)})" if limits else chosen.list
        views, size = f"{len(scored)} of {render.ring_views}", f"{render.size_px} px"
        rows.append((protocol.slug, protocol.protocol_class, views, size, objects))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def show(name: str, /) -> None:
    """Print one protocol in full: its hash, then YAML with every default written out."""
    protocol = load_protocol(_here(name))
    print(f"# {protocol.slug}\n{as_yaml(protocol)}", end="")


def list_() -> None:
    """Print the presets of config/protocols."""
    print(table())


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
        prog="python -m aligncvc.config.protocols_table",
        description="Evaluation protocols: list the presets, show one, compare two.",
    )


if __name__ == "__main__":
    cli(main)

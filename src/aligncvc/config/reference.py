"""Pages that are made from the types: every key with its meaning, and the table of the protocols."""

from __future__ import annotations

import json
import types
import typing
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aligncvc.config.pairing import judged
from aligncvc.config.protocols import Protocol, load_protocol, presets
from aligncvc.config.root import Config
from aligncvc.files import PROJECT_ROOT
from aligncvc.models.kinds import ROLES, kind_module, known_kinds

SCHEMA = PROJECT_ROOT / "config/config.schema.json"
REFERENCE = PROJECT_ROOT / "docs/configuration.md"
PROTOCOLS = PROJECT_ROOT / "docs/protocols.md"

INTRODUCTION = """# Configuration

This page is made by `python -m aligncvc.config reference` from the types in `src/aligncvc/config/` and from
each kind's `settings.py`; a test keeps both equal. How to choose and change a configuration:
[config/README.md](../config/README.md).
The sections from `protocol` on are the keys of the files in config/protocols ([protocols.md](protocols.md)).
Unknown keys are errors. Threads, memory and GPUs are not configuration: they are set in `profiles/`.
"""


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The section types inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models(argument)]


def _type_name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else _type_name(a) for a in arguments)
    if origin in (list, dict):
        return f"{origin.__name__} of {' to '.join(map(_type_name, arguments))}"
    names = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _limits(field: FieldInfo) -> str:
    """Bounds such as `> 0`, from the field's constraints."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found = [
        f"{sign} {getattr(rule, key):g}"
        for rule in field.metadata
        for key, sign in signs.items()
        if getattr(rule, key, None) is not None
    ]
    return ", ".join(found)


def _default(field: FieldInfo) -> str:
    """The default as YAML in one line."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    text = json.dumps(value, default=lambda section: section.model_dump(mode="json"))
    return f"`{text}`" if len(text) <= 60 else "see `config/config.yaml`"


def _first_line(sections: list[type[BaseModel]]) -> str:
    """What a section says of itself, for a key that says nothing more."""
    line = ((sections[0].__doc__ or "").strip().splitlines() or [""])[0] if sections else ""
    return line[:1].lower() + line[1:].rstrip(".") if line[1:2].islower() else line.rstrip(".")


def _table(model: type[BaseModel], title: str) -> list[str]:
    """The Markdown lines of one section and then of the sections inside it."""
    lines = ["", f"## {title}", "", (model.__doc__ or "").strip().splitlines()[0] if model.__doc__ else ""]
    lines += ["", "| key | type | default | meaning |", "|---|---|---|---|"]
    inner: list[tuple[type[BaseModel], str]] = []
    for name, field in model.model_fields.items():
        nested = _models(field.annotation)
        path = name if title == "top level" else f"{title}.{name}"
        many = typing.get_origin(field.annotation) is dict
        inner += [(child, f"{path}.NAME" if many else path) for child in nested]
        default = "below" if nested and not many else _default(field)
        kind = "section" if nested and not many else _type_name(field.annotation)
        kind = f"{kind}, {limits}" if (limits := _limits(field)) else kind
        meaning = (field.description or _first_line(nested)).replace("|", "\\|")
        lines.append(f"| `{name}` | {kind} | {default} | {meaning} |")
    for child, path in inner:
        lines += _table(child, path)
    return lines


def reference() -> str:
    """docs/configuration.md."""
    lines = [*_table(Config, "top level"), *_table(Protocol, "protocol")]
    for role in ROLES:
        for kind in known_kinds(role):
            title = f"network: kind {kind} ({role})"
            lines += _table(kind_module(role, kind, "settings").Settings, title)
    return INTRODUCTION + "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def protocols_page() -> str:
    """docs/protocols.md with the table between its two markers made anew."""
    text = PROTOCOLS.read_text(encoding="utf-8")
    head, _, rest = text.partition("<!-- presets -->\n")
    return f"{head}<!-- presets -->\n{table()}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"


def table() -> str:
    """The presets as a Markdown table: slug, class, scored views, size, object list."""
    rows = [("protocol", "class", "views scored", "size", "objects")]
    for name in presets():
        protocol = judged(load_protocol(name))
        render, chosen = protocol.render, protocol.objects
        scored = protocol.views.indices(render.ring_views, render.rig_indices)
        limits = [f"split {chosen.split}"] * (chosen.split != "all")
        limits += [f"first {chosen.limit}"] * bool(chosen.limit)
        objects = f"{chosen.list} ({', '.join(limits)})" if limits else chosen.list
        views, size = f"{len(scored)} of {render.ring_views}", f"{render.size_px} px"
        rows.append((protocol.slug, protocol.protocol_class, views, size, objects))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *lines = ("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows)
    return "\n".join([head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines])

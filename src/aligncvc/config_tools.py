"""`python -m aligncvc.config_tools {resolve,schema,reference}`: files made from the typed configuration.

resolve     write a complete, validated configuration (the workflow's results/config.yaml)
schema      write config/config.schema.json, which snakemake and editors validate against
reference   write docs/configuration.md, every key with its default and meaning, and the table of the presets
            in docs/protocols.md
"""

from __future__ import annotations

import argparse
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aligncvc.config import Config, load_config, parse_config, write_schema
from aligncvc.errors import UserError, cli
from aligncvc.files import PROJECT_ROOT, write_text
from aligncvc.ownership import claim_files
from aligncvc.protocols import Protocol
from aligncvc.protocols.__main__ import table

SCHEMA = PROJECT_ROOT / "config/config.schema.json"
REFERENCE = PROJECT_ROOT / "docs/configuration.md"
PROTOCOLS = PROJECT_ROOT / "docs/protocols.md"

INTRODUCTION = """# Configuration

This page is made by `python -m aligncvc.config_tools reference` from the types in `src/aligncvc/config*.py`;
a test keeps both equal. How to choose and change a configuration: [config/README.md](../config/README.md).
The sections from `protocol` on are the keys of the files in config/protocols ([protocols.md](protocols.md)).
Unknown keys are errors. Threads, memory and GPUs are not configuration: they are set in `profiles/`.
"""


def as_yaml(config: Config) -> str:
    """The whole configuration as YAML, keys in their declared order."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The section types inside an annotation, looked for through dict, list and union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models(argument)]


def _type_name(annotation: Any) -> str:
    """A short readable name of an annotation."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else _type_name(a) for a in arguments)
    if origin in (list, dict):
        inside = " to ".join(_type_name(argument) for argument in arguments)
        return f"{origin.__name__} of {inside}"
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
        meaning = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | {kind} | {default} | {meaning} |")
    for child, path in inner:
        lines += _table(child, path)
    return lines


def reference() -> str:
    """docs/configuration.md."""
    lines = [*_table(Config, "top level"), *_table(Protocol, "protocol")]
    return INTRODUCTION + "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def protocols_page() -> str:
    """docs/protocols.md with the table between its two markers made anew."""
    text = PROTOCOLS.read_text(encoding="utf-8")
    head, _, rest = text.partition("<!-- presets -->\n")
    return f"{head}<!-- presets -->\n{table()}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"


def main() -> None:
    """Command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m aligncvc.config_tools",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["resolve", "schema", "reference"])
    parser.add_argument("--out", type=Path, help="file to write (schema and reference know their own)")
    parser.add_argument("--config", type=Path, help="resolve: a YAML file; the demo's by default")
    parser.add_argument("--json", help="resolve: the configuration itself as JSON, instead of a file")
    parser.add_argument("--force", action="store_true", help="replace --out even if it is of another origin")
    arguments = parser.parse_args()
    if arguments.out:
        given = [arguments.config] if arguments.config else []
        claim_files([arguments.out], inputs=given, force=arguments.force)
    if arguments.what == "schema":
        write_schema(arguments.out or SCHEMA)
    elif arguments.what == "reference":
        write_text(arguments.out or REFERENCE, reference())
        if arguments.out is None:
            write_text(PROTOCOLS, protocols_page())
    else:
        text = as_yaml(
            parse_config(_loads(arguments.json), "--json")
            if arguments.json
            else load_config(arguments.config)
        )
        if arguments.out:
            write_text(arguments.out, text)
        else:
            sys.stdout.write(text)


def _loads(text: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"--json is not JSON ({error}); give a configuration such as '{{\"seed\": 1}}'"
        ) from None


if __name__ == "__main__":
    cli(main)

"""Which file of a prediction's folder is what: images by their numbers, the 3D result, and what is not read.

Nothing is passed over without a word. What is meant and cannot be told is an error, the rest a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aligncvc.errors import UserError
from aligncvc.scene.formats import LOSSY, MESHES, OTHER_MODELS, PICTURES

CAMERAS, FACTS = "cameras.json", "prediction.json"
MODELS = (
    "mesh.glb",
    "mesh.gltf",
    "mesh.obj",
    "mesh.ply",
    "model.glb",
    "model.gltf",
    "model.obj",
    "model.ply",
)
"""What the 3D result may be called, in lower case."""
SEED_NAME = re.compile(r"seed(\d+)")
NUMBERED = re.compile(r"(.*?)(\d+)")
HEADER = 1 << 16
"""Bytes in which a mesh file names its textures."""


@dataclass(frozen=True)
class PredictionFiles:
    """images: in the order of the cameras. models: meshes and Gaussians. notes: what is not read."""

    images: list[Path]
    models: list[Path]
    notes: list[str]


def find_files(folder: Path) -> PredictionFiles:
    """What a folder holds. Raises UserError for images or models that cannot be told from their names."""
    files = _visible(folder)
    models = [path for path in files if path.name.lower() in MODELS]
    others = [
        path for path in files if path.suffix.lower() in (*MESHES, *OTHER_MODELS) and path not in models
    ]
    if others and not models:
        raise UserError(
            f"{folder} holds {_listed(others)}, and no model of a name that is read; call it mesh.glb, "
            "mesh.obj or mesh.ply, or model.ply if it holds 3D Gaussians (docs/evaluating-your-method.md)"
        )
    pictures = _pictures(files, models)
    images = _numbered(folder, pictures, required=not models or cameras_file(folder) is not None)
    unread = [*others, *(path for path in pictures if path not in images)]
    notes = [f"{folder}: {_listed(unread)} not read"] if unread else []
    if images and images[0].suffix.lower() in LOSSY:
        notes.append(f"{folder}: images of a lossy format, whose losses count as the method's; write PNG")
    return PredictionFiles(images, models, notes)


def cameras_file(folder: Path) -> Path | None:
    """The cameras.json of a prediction: its own, its object's if it is a seed's, or the method's for all."""
    levels = [folder, folder.parent, *[folder.parent.parent] * bool(SEED_NAME.fullmatch(folder.name))]
    return next((level / CAMERAS for level in levels if (level / CAMERAS).is_file()), None)


def holds_prediction(folder: Path) -> bool:
    """Is this one object's folder, rather than a method's? A method's may hold cameras.json."""
    if any(path.is_dir() and SEED_NAME.fullmatch(path.name) for path in folder.iterdir()):
        return True
    return holds_files(folder)


def holds_files(folder: Path) -> bool:
    """Whether images, a model or facts of a prediction lie directly in a folder."""
    return any(
        path.name.lower() in MODELS
        or path.name == FACTS
        or (path.suffix.lower() in PICTURES and NUMBERED.fullmatch(path.stem))
        for path in _visible(folder)
    )


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")


def _pictures(files: Iterable[Path], models: Iterable[Path]) -> list[Path]:
    """The pictures of a folder that are no texture of a model in it."""
    named = [path for path in files if path.suffix.lower() in (".mtl", ".gltf")]
    named += [path for path in models if path.suffix.lower() == ".ply"]
    words = []
    for path in named:
        with path.open("rb") as handle:
            words.append(handle.read() if path.suffix.lower() != ".ply" else handle.read(HEADER))
    pictures = (path for path in files if path.suffix.lower() in PICTURES)
    return [
        path for path in pictures if not any(path.name.encode("utf-8", "replace") in text for text in words)
    ]


def _numbered(folder: Path, pictures: Sequence[Path], required: bool) -> list[Path]:
    """The series of pictures that are numbered from 0, those with nothing before the number first.

    required: images must be among the pictures, if there are any. Raises UserError for two series, gaps and
    numbers that occur twice.
    """
    series: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    for path in pictures:
        if match := NUMBERED.fullmatch(path.stem):
            series.setdefault((match[1], path.suffix.lower()), []).append((int(match[2]), path))
    plain = {key: members for key, members in series.items() if not key[0]}
    if not plain and not required:
        return []
    chosen = list((plain or series).values())
    if len(chosen) > 1:
        examples = " and ".join(members[0][1].name for members in chosen[:2])
        raise UserError(f"{folder} holds several series of images ({examples}, ...); leave one")
    if not chosen:
        if pictures:
            raise UserError(
                f"{folder} holds {_listed(pictures)}, and no numbered images; name them 000.png, 001.png, "
                "... in the order of cameras.json"
            )
        return []
    members = sorted(chosen[0])
    first = members[0][1]
    digits = min(len(NUMBERED.fullmatch(path.stem)[2]) for _, path in members)  # type: ignore[index]
    prefix = NUMBERED.fullmatch(first.stem)[1]  # type: ignore[index]
    for i, (number, path) in enumerate(members):
        if number < i:
            raise UserError(
                f"{folder} holds two images of number {number}, one of them {path.name}; leave one"
            )
        if number > i:
            name = f"{prefix}{i:0{digits}d}{first.suffix}"
            raise UserError(f"{folder} lacks {name}; number the images from 0 without gaps")
    return [path for _, path in members]


def _listed(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(path.name for path in paths[:3]) + more

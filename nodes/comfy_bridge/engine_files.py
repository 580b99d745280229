"""Which model files and folders the inputs of loading nodes list, where they lie, and an engine's parts beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import folder_paths

MODEL_FOLDERS = ("diffusion_models", "vivid", "diffusers")
LORA_FOLDERS = ("loras", "vivid")
DEEPEST = 3  # folders below a model folder
FOLDER = "/"  # ends the name of a folder
WHOLE, PART = "model_index.json", "config.json"
NOTHING = "none found"  # stands for an empty folder: the page could not show a list without entries


def models(names: tuple[str, ...] = MODEL_FOLDERS) -> list[str]:
    """The names of all files and diffusers folders in ComfyUI's model folders `names`; folders end with a slash."""
    found: dict[str, None] = {}
    for name in _known(names):
        folders = sorted(
            {folder for root in folder_paths.get_folder_paths(name) for folder in _diffusers_folders(root)}
        )
        files = folder_paths.get_filename_list(name)
        inside = tuple(folders)
        found.update(dict.fromkeys([*folders, *(file for file in files if not _posix(file).startswith(inside))]))
    return list(found)


def files(*names: str) -> list[str]:
    """The names of all files in ComfyUI's model folders `names`."""
    return list(dict.fromkeys(file for name in _known(names) for file in folder_paths.get_filename_list(name)))


def path_of(chosen: str, *names: str) -> Path:
    """Where a file or folder that `models` or `files` named lies, in one of ComfyUI's model folders `names`.

    Raises ValueError when it is not there any more.
    """
    for name in _known(names):
        if chosen.endswith(FOLDER):
            below = os.path.relpath(os.path.join(os.sep, chosen), os.sep)  # as ComfyUI does it with files
            roots = folder_paths.get_folder_paths(name) if below != os.curdir else []
            places = (Path(root, below) for root in roots)
            path = next((place for place in places if place.is_dir()), None)
        else:
            whole = folder_paths.get_full_path(name, chosen)
            path = None if whole is None else Path(whole)
        if path is not None:
            return path
    where = " or ".join(root for name in _known(names) for root in folder_paths.get_folder_paths(name))
    raise ValueError(f"{chosen} is not in {where}: put it there, or choose one that is.")


def listed(folder: str) -> list[str]:
    """The files of one model folder as an input lists them: never nothing."""
    return files(folder) or [NOTHING]


def listed_path(chosen: str, folder: str | tuple[str, ...], node: str, what_to_do: str) -> Path:
    """Where a file of `listed` lies, in one folder or in several. `what_to_do`, for `node`, is told where they are
    empty.

    Raises ValueError when there is none, or it is not there any more.
    """
    names = (folder,) if isinstance(folder, str) else folder
    if chosen != NOTHING:
        return path_of(chosen, *names)
    where = " or ".join(root for name in _known(names) for root in folder_paths.get_folder_paths(name))
    raise ValueError(f"{node}: there is no model in {where}; {what_to_do}.")


def inside(*paths: Path) -> list[Path]:
    """These files, and all files in these folders."""
    found: list[Path] = []
    for path in paths:
        found += sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return found


def part_of(model: Path, part: str) -> Path | None:
    """The folder of a part (transformer, vae, text_encoder, tokenizer) beside or below a chosen folder, if any."""
    for base in (model, model.parent) if model.is_dir() else ():
        if (base / part).is_dir() and (base is model or (base / WHOLE).is_file()):
            return base / part
    return None


def _known(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in folder_paths.folder_names_and_paths]


def _diffusers_folders(root: str) -> Iterator[str]:
    """Folders that are a pipeline or a single model of diffusers, relative to `root`."""
    for folder, below, held in os.walk(root, followlinks=True):
        relative = _posix(os.path.relpath(folder, root))
        if relative != "." and (WHOLE in held or PART in held or "transformer" in below):
            yield relative + FOLDER
            below.clear()
        elif relative.count("/") + 1 >= DEEPEST and relative != ".":
            below.clear()


def _posix(path: str) -> str:
    return path.replace(os.sep, "/")

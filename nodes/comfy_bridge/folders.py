"""The model folders that the pack reads, added to ComfyUI's without touching what is there."""

from __future__ import annotations

import os

import folder_paths

# Folder names that not every ComfyUI knows, with the endings of what lies in them.
OURS = {
    "vivid": {".safetensors"},
    "sam2": {".safetensors", ".pt", ".pth"},
    "geometry_estimation": {".safetensors", ".pt", ".pth"},  # depth, as newer cores call it
    "optical_flow": {".safetensors", ".pt", ".pth"},
}


def register_folders() -> None:
    """Make ComfyUI look into models/<name> for each of our folder names, beside what extra_model_paths.yaml says.

    A folder that this ComfyUI or another pack brings keeps its paths and endings.
    """
    for name, endings in OURS.items():
        if name in folder_paths.folder_names_and_paths:
            folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))
        else:
            folder_paths.folder_names_and_paths[name] = ([os.path.join(folder_paths.models_dir, name)], set(endings))


def model_path(folder: str, name: str) -> str:
    """The whole path of a model that a list of ComfyUI named.

    Raises ValueError when it is not there any more.
    """
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        where = " or ".join(folder_paths.get_folder_paths(folder))
        raise ValueError(f"{name} is not in {where}: put it there, or choose a file that is.")
    return path

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
    "animatediff_models": {".safetensors", ".ckpt", ".pt", ".pth"},  # as AnimateDiff-Evolved calls it
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

"""Weight files: which files hold a model's tensors and what their headers say, before anything is loaded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..json_text import parsed_object
from .headers import TensorInfo, read_header, read_safetensors
from .pickles import check_values, read_pickle

__all__ = ["TensorInfo", "WeightFiles", "open_weights", "read_tensors"]

SAFETENSORS = {".safetensors", ".sft"}
PICKLES = {".pt", ".pth", ".bin", ".ckpt"}
STANDARD_NAMES = ("diffusion_pytorch_model", "model", "pytorch_model")  # diffusers' and transformers', in this order
INDEX = re.compile(r"\.index(\.\w+)?\.json$")
SHARD = re.compile(r"^(?P<stem>.+)-\d{5}-of-(?P<total>\d{5})(?P<suffix>\.\w+)$")


@dataclass(frozen=True)
class WeightFiles:
    """What is known of a model before any tensor is read.

    `path` is what the user chose, a file or a folder; `parts` are the files that hold `tensors`; `metadata` are the
    words of the headers; `config` is the config.json of a diffusers or transformers folder, None if there is none.
    """

    path: Path
    parts: tuple[Path, ...]
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    config: Mapping[str, Any] | None

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def told(self, key: str) -> dict[str, Any]:
        """The JSON object that the metadata hold under `key`; empty where they have none.

        Raises ValueError, in one sentence with the file's name, when it is damaged.
        """
        try:
            return parsed_object(self.metadata.get(key, "{}"))
        except ValueError as error:
            raise ValueError(
                f"{self.path.name} has damaged metadata ({key}: {error}): download or save it again."
            ) from error

    @property
    def dtype(self) -> torch.dtype:
        """The floating dtype of most of the values; float32 where no tensor is floating."""
        values: Counter[torch.dtype] = Counter()
        for tensor in self.tensors.values():
            if tensor.dtype.is_floating_point:
                values[tensor.dtype] += tensor.nbytes // tensor.dtype.itemsize
        return max(values, key=values.__getitem__, default=torch.float32)


def open_weights(path: str | Path) -> WeightFiles:
    """Read the headers of a model: a file, any shard or the index of a sharded one, or its folder.

    Safetensors are preferred where a folder holds both; PyTorch pickles are read without running what is in them. A
    config.json belongs to the model when the folder was chosen, or when the file bears the name that diffusers or
    transformers give it: beside other names it may be any model's.

    Raises ValueError, in one sentence that names the file, when it is missing, empty, cut off, not a weights file, a
    pickle with code in it, one shard of several that aren't all there, or a folder without one model's weights.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} is not there: check the name, or put the weights there.")
    try:
        file = _in_folder(path) if path.is_dir() else path
        wanted, parts = _parts(file)
        tensors: dict[str, TensorInfo] = {}
        metadata: dict[str, str] = {}
        for part in parts:
            held, words = read_header(part) if part.suffix in SAFETENSORS else (_described(part), {})
            tensors.update(held)
            metadata.update(words)
        config = _config(file, path.is_dir())
    except OSError as error:
        raise ValueError(
            f"{path.name} can't be read ({error.strerror}): check its permissions and its disk."
        ) from error
    absent = [name for name in wanted if name not in tensors]
    if absent:
        raise ValueError(
            f"{file.name} lists {len(absent)} tensors, such as {absent[0]}, that its shards don't hold: the files are "
            "from different versions, so download all of them again."
        )
    return WeightFiles(path, parts, tensors, metadata, config)


def read_tensors(files: WeightFiles) -> dict[str, Tensor]:
    """All tensors by name, on the CPU: views of the files, which the system reads when they are used.

    Raises ValueError as `open_weights` does when a file changed in between, and when a pickle lacks values.
    """
    tensors: dict[str, Tensor] = {}
    with torch.inference_mode(False):  # a loader node runs in it, and inference tensors can never be trained
        for part in files.parts:
            held = read_safetensors(part) if part.suffix in SAFETENSORS else read_pickle(part)
            if part.suffix not in SAFETENSORS:
                check_values(part, held)
            tensors.update(held)
    return tensors


def _described(file: Path) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(tensor.dtype, tuple(tensor.shape), tensor.nbytes) for name, tensor in read_pickle(file).items()
    }


def _in_folder(folder: Path) -> Path:
    """The file of a folder that stands for its model: an index, a whole file, or a shard."""
    if (folder / "model_index.json").exists():
        raise ValueError(
            f"{folder.name} is a whole pipeline of several models: choose one of its folders, such as transformer, "
            "unet, vae or text_encoder."
        )
    for ending in (".safetensors.index.json", ".safetensors", ".bin.index.json", ".bin"):
        for name in STANDARD_NAMES:
            if (folder / (name + ending)).is_file():
                return folder / (name + ending)
    for suffixes in (SAFETENSORS, PICKLES):
        found = sorted(file for file in folder.iterdir() if file.suffix in suffixes and file.is_file())
        models = {_model_name(file): file for file in reversed(found)}
        if len(models) > 1:
            names = ", ".join(file.name for file in list(models.values())[:-4:-1])
            raise ValueError(
                f"{folder.name} holds the weights of {len(models)} models or variants, such as {names}: choose one of "
                "these files."
            )
        if found:
            return found[0]
    raise ValueError(
        f"{folder.name} is a folder without weights: choose one that holds a .safetensors file, alone or in shards, "
        "or download it again."
    )


def _model_name(file: Path) -> str:
    shard = SHARD.match(file.name)
    return shard["stem"] if shard else file.name


def _parts(file: Path) -> tuple[list[str], tuple[Path, ...]]:
    """The tensors that must be there, as far as an index says so, and the files that hold them."""
    shard = SHARD.match(file.name)
    wanted: list[str] = []
    if INDEX.search(file.name):
        places = _index(file)
        wanted, names = list(places), sorted(set(places.values()))
    elif shard:
        total = int(shard["total"])
        names = [f"{shard['stem']}-{number:05}-of-{total:05}{shard['suffix']}" for number in range(1, total + 1)]
    else:
        names = [file.name]
    for name in names:
        if Path(name).suffix not in SAFETENSORS | PICKLES:
            raise ValueError(
                f"{name} is no weights file that can be read here: choose a .safetensors file, the index of a sharded "
                "one, or a .pt, .pth, .bin or .ckpt file."
            )
    missing = [name for name in names if not (file.parent / name).is_file()]
    if missing:
        raise ValueError(
            f"{file.name} needs {len(names)} files, and {len(missing)} of them, {', '.join(missing[:3])}, "
            f"{'is' if len(missing) == 1 else 'are'} not beside it: download what is missing into the same folder."
        )
    return wanted, tuple(file.parent / name for name in names)


def _index(file: Path) -> dict[str, str]:
    places = _json(file).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{file.name} names no shards (it has no weight_map): download this index again.")
    for name in places.values():
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"{file.name} names {name!r}, which is no file of its own folder: download it again.")
    return places


def _config(file: Path, folder_chosen: bool) -> dict[str, Any] | None:
    config = file.parent / "config.json"
    standard = re.split(r"[.-]", file.name)[0] in STANDARD_NAMES
    return _json(config) if (folder_chosen or standard) and config.is_file() else None


def _json(file: Path) -> dict[str, Any]:
    try:
        return parsed_object(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file.name} in {file.parent.name} is damaged ({error}): download it again.") from error

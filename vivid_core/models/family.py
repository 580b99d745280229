"""What a family of models is, and what the families share: reading shapes, checking a config, naming a class."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..optional import install_command, require
from .files import TensorInfo, WeightFiles

Tensors = Mapping[str, TensorInfo]

# What quantised files hold beside each weight: ComfyUI's scaled fp8, bitsandbytes' 4 and 8 bits.
QUANTISED = re.compile(
    r"(^|\.)(scaled_fp8|scale_weight|scale_input|weight_scale|comfy_quant|absmax|quant_map|SCB)$|\.quant_state\."
)


# Settings in config.json by which transformers has fetched and run code of others, whatever trust_remote_code said
# (CVE-2026-4372 and CVE-2026-5241, in versions that many a ComfyUI still has). No module needs them from a file.
FETCHES = re.compile(
    r"(attn|attention|experts)_implementation|trust_remote_code|auto_map|custom_pipeline|kernel_config"
)


def unchanged(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state_dict` itself: its keys are already those of the module."""
    return state_dict


@dataclass(frozen=True)
class Family:
    """One architecture: how its files look, and how its module is made.

    `label` stands in messages after "a"; `role` is one of denoiser, vae, text_encoder, controlnet, segmenter,
    depth and flow; `get_it` says, as the second half of a sentence, where the files are. `detects` looks at keys and
    shapes; `config` takes the settings from config.json, or from the shapes where there is none; `build` makes the
    module from them; `convert` gives the file's tensors the module's names.
    """

    name: str
    label: str
    role: str
    get_it: str
    detects: Callable[[Tensors], bool]
    config: Callable[[WeightFiles], dict[str, Any]]
    build: Callable[[Mapping[str, Any]], nn.Module]
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] = unchanged


def given_config(files: WeightFiles, label: str, *classes: str) -> dict[str, Any] | None:
    """The settings of the config.json that came with the weights; None where there is none.

    Raises ValueError when the file is quantised, or when config.json is of a class other than `classes`.
    """
    quantised = next((name for name in files.tensors if QUANTISED.search(name)), None)
    if quantised or (files.config and files.config.get("quantization_config")):
        raise ValueError(
            f"{files.path.name} holds quantised or scaled weights ({quantised or 'so says its config.json'}), which "
            "need their scales in every layer: choose the fp32, fp16, bf16 or plain fp8 file of the same model."
        )
    if files.config is None:
        return None
    named = [files.config.get("_class_name"), *(files.config.get("architectures") or [])]
    named = [name for name in named if name]
    if named and not set(named) & set(classes):
        raise ValueError(
            f"{files.path.name} holds the weights of a {label}, but the config.json with them is for "
            f"{named[0]}: put the config.json of {classes[0]} there."
        )
    return dict(files.config)


def config_beside(files: WeightFiles, label: str, *classes: str) -> dict[str, Any]:
    """The settings of config.json, for a family whose shapes don't tell them.

    Raises ValueError where there is none, and as `given_config` does.
    """
    config = given_config(files, label, *classes)
    if config is None:
        raise ValueError(
            f"{files.path.name} is a {label}, whose settings can't be told from its weights: its config.json must lie "
            "beside the file, so choose the folder that holds both."
        )
    return config


def odd_size(files: WeightFiles, label: str, found: str) -> ValueError:
    """The error for shapes that the family's conventions don't explain; `found` is what was found instead."""
    return ValueError(
        f"{files.path.name} is a {label} of a size that is not known ({found}): put its config.json beside it and "
        "choose the folder that holds both."
    )


def count(tensors: Tensors, prefix: str) -> int:
    """How many numbered children `prefix`0, `prefix`1, ... have."""
    numbers = [name[len(prefix) :].split(".", 1)[0] for name in tensors if name.startswith(prefix)]
    return max((int(number) + 1 for number in numbers if number.isdigit()), default=0)


def width(tensors: Tensors, name: str, dimension: int = 0) -> int:
    """The size of a tensor in one dimension.

    Raises ValueError when the tensor, which its family always has, is not there.
    """
    if name not in tensors or len(tensors[name].shape) <= dimension:
        raise ValueError(f"the weights lack {name}, so their size can't be told: download the file again.")
    return tensors[name].shape[dimension]


def from_diffusers(class_name: str, config: Mapping[str, Any]) -> nn.Module:
    """A diffusers model with these settings.

    Raises ModuleNotFoundError without diffusers, ValueError when it is too old to know the class.
    """
    diffusers = require("diffusers", f"Loading a {class_name}")
    if not hasattr(diffusers, class_name):
        raise ValueError(
            f"diffusers {diffusers.__version__} has no {class_name}: run {install_command('diffusers')} for a newer "
            "one and restart ComfyUI."
        )
    return getattr(diffusers, class_name).from_config(without_code(config))


def from_transformers(class_name: str, config_name: str, config: Mapping[str, Any]) -> nn.Module:
    """A transformers model with these settings.

    Raises ModuleNotFoundError without transformers.
    """
    transformers = require("transformers", f"Loading a {class_name}")
    return getattr(transformers, class_name)(getattr(transformers, config_name).from_dict(without_code(config)))


def without_code(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those that name code to be fetched and run, in settings inside them too."""
    return {
        key: without_code(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if not FETCHES.search(key)
    }

"""All families of models: which one a file is, and its module, first without weights and then with the file's."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from . import (
    autoencoder_kl,
    clip_text,
    cogvideox,
    cogvideox_vae,
    controlnet,
    depth_anything,
    embedded,
    embedded_codec,
    motion_adapter,
    raft,
    sam2,
    t5_encoder,
    umt5_encoder,
    unet2d,
    unet_motion,
    wan_vace,
    wan_vae,
)
from .family import Family, Tensors
from .files import WeightFiles, open_weights

__all__ = ["FAMILIES", "Family", "check_family", "detect", "empty", "fill", "open_family"]

FAMILIES: tuple[Family, ...] = (
    cogvideox.FAMILY,
    cogvideox_vae.FAMILY,
    t5_encoder.FAMILY,
    umt5_encoder.FAMILY,
    wan_vace.FAMILY,
    wan_vae.FAMILY,
    unet2d.FAMILY,
    unet_motion.FAMILY,
    controlnet.FAMILY,
    motion_adapter.FAMILY,
    autoencoder_kl.FAMILY,
    clip_text.FAMILY,
    depth_anything.FAMILY,
    sam2.FAMILY,
    raft.FAMILY,
    embedded.TRANSFORMER_FAMILY,
    embedded_codec.FAMILY,
)
SHOWN = 3  # names in a message
MOST_PARAMETERS = 5_000  # of one model; the largest ones that are known have some 2,000


def _any(*parts: str) -> Callable[[Tensors], bool]:
    return lambda tensors: any(part in name for name in tensors for part in parts)


# What is often chosen and can't be used: how it is known, what it is, what to do.
OTHERS: tuple[tuple[Callable[[Tensors], bool], str, str], ...] = (
    (
        _any(".lora_A.", ".lora_B.", ".lora_down.", ".lora_up.", ".lora.down.", ".lora.up."),
        "a LoRA and no model",
        "connect it as a LoRA, and choose the model that it was made for here",
    ),
    (
        lambda tensors: any(name.startswith(("model.diffusion_model.", "input_blocks.0.")) for name in tensors),
        "a checkpoint in its original layout (model.diffusion_model) of a model that is not known here",
        "choose the diffusers folder of the same model",
    ),
    (
        _any("vision_encoder.backbone.", "vision_encoder.neck."),
        "a SAM 2 model in transformers' layout, which this version can't take apart",
        sam2.FAMILY.get_it,
    ),
    (
        _any("fnet.conv1."),
        "a RAFT model in its original layout, which this version can't take apart",
        raft.FAMILY.get_it,
    ),
    (
        _any("motion_modules."),
        "a part of a model with motion modules and no whole one",
        motion_adapter.FAMILY.get_it,
    ),
)


def detect(files: WeightFiles, wanted: Collection[str] | None = None) -> Family:
    """The family whose keys and shapes these are; `wanted` are the names of those that are of use here, None for all.

    Raises ValueError, in one sentence with the file's name, for everything else.
    """
    for family in FAMILIES:
        if family.detects(files.tensors):
            return family
    for known, what, instead in OTHERS:
        if known(files.tensors):
            raise ValueError(f"{files.path.name} is {what}: {instead}.")
    labels = ", ".join(family.label for family in FAMILIES if wanted is None or family.name in wanted)
    first = next(iter(files.tensors), "none")
    raise ValueError(
        f"{files.path.name} holds {len(files.tensors)} tensors (the first is {first}) that belong to no model known "
        f"here: choose one of these: {labels}."
    )


def check_family(files: WeightFiles, wanted: Collection[str]) -> Family:
    """The family of a file, if its name is among those `wanted`.

    Raises ValueError, in one sentence that says what the file is and where to get the right one, if it is not; and as
    `detect` does.
    """
    family = detect(files, wanted)
    if family.name in wanted:
        return family
    raise ValueError(f"{files.path.name} is a {family.label}, but {_needed(wanted)}.")


def open_family(path: str | Path, wanted: Collection[str]) -> tuple[WeightFiles, Family]:
    """The headers of a file or folder, and its family, which is one of those `wanted`.

    Raises ValueError as `open_weights` and `check_family` do, and for a missing file with where to get it.
    """
    if not Path(path).exists():
        raise ValueError(f"{path} is not there, and {_needed(wanted)}.")
    files = open_weights(path)
    return files, check_family(files, wanted)


SEVERAL = "the help page says where each comes from"


def _needed(wanted: Collection[str]) -> str:
    fitting = [one for one in FAMILIES if one.name in wanted]
    labels = " or ".join(f"a {one.label}" for one in fitting)
    return f"this input needs {labels}; {fitting[0].get_it if len(fitting) == 1 else SEVERAL}"


def empty(family: Family, config: Mapping[str, Any]) -> nn.Module:
    """The module of a family without weights: parameters on the meta device, buffers computed as usual.

    Files don't hold every buffer (tables of positions are computed), so these must be real. The module is in
    evaluation mode and wants no gradients.

    Raises ValueError when the settings fit no module of the family, ModuleNotFoundError without its package.
    """
    try:
        with torch.inference_mode(False), _parameters_on_meta():
            module = family.build(config)
    except (TypeError, KeyError, AttributeError, IndexError, RuntimeError, ArithmeticError, MemoryError) as error:
        raise ValueError(
            f"The settings make no {family.label} ({type(error).__name__}: {error}): put the config.json that belongs "
            "to the weights beside them."
        ) from error
    return module.eval().requires_grad_(False)


def fill(module: nn.Module, state_dict: Mapping[str, Tensor], what: str) -> None:
    """Make the tensors of `state_dict` the weights of `module`: the tensors themselves, not copies of them.

    Weights that the module ties (a table used in two places) need to be there once. Shapes must agree; dtypes may
    differ, the file's stays. `what` names the file in messages.

    Raises ValueError, in one sentence, when tensors are missing, unknown, or of another shape.
    """
    needed = module.state_dict()
    tied = _tied(module)
    ignored = [re.compile(pattern) for pattern in getattr(module, "_keys_to_ignore_on_load_unexpected", None) or ()]
    given = dict(state_dict)
    for names in tied:
        source = next((given[name] for name in names if name in given), None)
        if source is not None:
            given.update(dict.fromkeys(names, source))
    unknown = [name for name in given if name not in needed]
    for name in unknown:
        if any(pattern.search(name) for pattern in ignored):
            del given[name]
    _check_fit(needed, given, f"{what} doesn't fit {type(module).__name__} with these settings")
    with torch.inference_mode(False):
        module.load_state_dict(given, assign=True)
    for first, *others in tied:
        parameter = module.get_parameter(first)
        for name in others:  # `assign` made one parameter for each name
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, parameter)


def _tied(module: nn.Module) -> list[list[str]]:
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [same for same in names.values() if len(same) > 1]


def _check_fit(needed: Mapping[str, Tensor], given: Mapping[str, Tensor], sentence: str) -> None:
    missing = [name for name in needed if name not in given]
    unknown = [name for name in given if name not in needed]
    misshapen = [
        f"{name} is {_form(given[name])} instead of {_form(tensor)}"
        for name, tensor in needed.items()
        if name in given and _form(given[name]) != _form(tensor)
    ]
    kinds = {"missing": missing, "unknown": unknown, "of another shape": misshapen}
    found = [f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds.items() if names]
    if found:
        raise ValueError(
            f"{sentence}: of its tensors {', '.join(found)}; check that its config.json belongs to it, or download it "
            "again."
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN] + ["..."] * (len(names) > SHOWN))


def _form(tensor: Tensor) -> str:
    """The shape, and the kind of numbers: a matrix of integers is a packed one, whatever its shape."""
    return f"{tuple(tensor.shape)}{'' if tensor.is_floating_point() else ' of integers'}"


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Parameters of modules that this thread builds lose their memory as soon as their module gets them."""
    builder = threading.get_ident()  # the hook is for all threads: others may build models of their own meanwhile
    made = 0

    def to_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        nonlocal made
        if parameter is None or parameter.is_meta or threading.get_ident() != builder:
            return None
        made += 1
        if made > MOST_PARAMETERS:  # or settings with a billion layers would have us build them
            raise RuntimeError(f"more than {MOST_PARAMETERS} parameters")
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(to_meta)
    try:
        yield
    finally:
        handle.remove()

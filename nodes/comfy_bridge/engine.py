"""An editing engine under ComfyUI's memory, as it travels from Load Edit Engine to the nodes that run it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from ...vivid_core.editors.contract import Adapter, Place
from ...vivid_core.editors.engine import Engine, Footprint, TextEncoder
from .host import ManagedBundle, ManagedModel
from .memory import explained_out_of_memory, plan
from .previews import fitted_format, known_format, wanted
from .progress import ComfyRuntime

SEES_NO_MASK = (
    "is a text-to-video model that sees no mask: choose the trained parts of VIVID as the LoRA in Load Edit Engine, or "
    "train them on it with Train VIVID LoRA."
)
SHAPE_FOR_HINTS = (9, 16)  # height and width of the frames that most people have
TO_LOWER = "the window or the size of the frames, choose the crop fast, or turn on tiled_vae in Load Edit Engine,"


@dataclass(frozen=True)
class ManagedEngine(ManagedBundle):
    """The models of an engine, its adapter, and what vivid_core must know of them. `text` and `text_encoder` are None
    where it came without; `notes` are sentences for the report of its user. `untrained` says that it can be trained to
    edit, but can't edit yet. `base_identity` is `identity` as it were without a LoRA.

    """

    adapter: Adapter
    transformer: ManagedModel
    vae: ManagedModel
    text: ManagedModel | None
    text_encoder: TextEncoder | None
    footprint: Footprint
    identity: str
    notes: list[str] = field(default_factory=list)
    untrained: bool = False
    base_identity: str = ""

    def engine(self) -> Engine:
        """What vivid_core runs, with a runtime of `runtime`."""
        return Engine(
            self.adapter,
            self.transformer.module,
            self.vae.module,
            self.text_encoder,
            self.identity,
            _place(self.transformer),
            _place(self.vae),
            Place() if self.text is None else _place(self.text),
            self.footprint,
        )

    def runtime(self, latent_format: Any = None) -> ComfyRuntime:
        """For one run: it holds these models and no others. `latent_format` shows latents on the way."""
        return ComfyRuntime(*self.models(), latent_format=latent_format)

    @contextmanager
    def running(self) -> Iterator[tuple[Engine, ComfyRuntime]]:
        """The engine and a runtime, for a block that edits; a full device is explained.

        Raises ValueError when the engine can't edit yet.
        """
        if self.untrained:
            raise ValueError(f"This engine {SEES_NO_MASK}")
        with explained_out_of_memory(TO_LOWER):
            yield self.engine(), self.runtime(self._shown() if wanted() else None)

    def report(self) -> str:
        """What was loaded, what fits on the device, and what the family likes."""
        traits = self.adapter.traits
        frames = traits.frames_for(traits.longest)
        height, width = traits.size_for(*SHAPE_FOR_HINTS)
        needed = self.footprint.denoise(2 if traits.guidance.active else 1, frames, height, width)
        rate = "at any rate" if traits.fps is None else f"trained at {traits.fps} frames a second"
        lines = [
            f"{traits.label}: {_described(self.transformer)}; VAE {_described(self.vae)}.",
            plan([self.transformer], needed).sentence(),
            f"Clips: up to {frames} frames ({traits.frame_step}k + 1) in a window, {rate}; about {width}x{height} "
            f"pixels, both sides multiples of {traits.multiple}.",
            f"Sampling: {traits.steps} steps, guidance {traits.guidance.scale:g}, {traits.schedule.default}.",
            f'Masks: mode "{traits.mask_mode}" of Augment Mask, about {traits.mask_growth:.0%} of the frame\'s short '
            "side wider than the object.",
        ]
        return "\n".join([*lines, *self.notes])

    def models(self) -> list[ManagedModel]:
        """All models in it."""
        return [model for model in (self.transformer, self.vae, self.text) if model is not None]

    def _shown(self) -> Any:
        """How to show latents: ComfyUI's own way, or what the VAE tells of its colours."""
        known = known_format(self.adapter.traits.name)
        if known is not None:
            return known
        with self.runtime().hold(self.vae.module):
            return fitted_format(self.adapter, self.vae.module, _place(self.vae))


def _place(model: ManagedModel) -> Place:
    return Place(model.device, model.compute_dtype)


def _described(model: ManagedModel) -> str:
    """The dtypes, and what they are called where they differ."""
    stored, computed = (_named(dtype) for dtype in (model.host.get_dtype(), model.compute_dtype))
    return f"in {stored}" if stored == computed else f"kept in {stored}, computing in {computed}"


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

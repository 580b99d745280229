"""Two engines to judge KIVE by: the embedded model with random weights, and a painter whose answer is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from vivid_core.diffusion import schedulers
from vivid_core.diffusion.denoise import Predict
from vivid_core.diffusion.guidance import Guidance
from vivid_core.editors.adapters.cogvideox import embedded as embedded_adapter
from vivid_core.editors.contract import EditRequest, Place, Traits, with_keys
from vivid_core.editors.engine import Engine
from vivid_core.models import embedded
from vivid_core.models.embedded_codec import load_codec
from vivid_core.training.world.words import vocabulary
from vivid_core.video.keyframes import Keyframe, Keyframes

SIDE, STEPS = 48, 2
TEXT_COLOUR = 0.25


@cache
def random_engine() -> Engine:
    """The embedded model's architecture with random weights: real modules, no trained answer."""
    model = embedded.build(vocabulary(), seed=0)
    config: Any = model.transformer.config
    return Engine(embedded_adapter(config), model.transformer, load_codec(), None, "random")


def clip(frames: int, side: int = SIDE, seed: int = 1) -> Tensor:
    return torch.rand(frames, side, side, 3, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.1


def box(frames: int, side: int = SIDE) -> Tensor:
    """A still box in the middle, a third of each side."""
    mask = torch.zeros(frames, side, side)
    mask[:, side // 3 : 2 * side // 3, side // 3 : 2 * side // 3] = 1
    return mask


def painted(frames: Tensor, mask: Tensor, index: int, colour: float) -> Keyframe:
    """A keyframe: the frame with one shade of grey inside the mask."""
    return Keyframe(index, torch.where(mask[index][..., None] > 0.5, colour, frames[index]))


def keys_of(frames: Tensor, mask: Tensor, **colours: float) -> Keyframes:
    """`keys_of(frames, mask, at3=0.2)`: a grey keyframe on frame 3."""
    return Keyframes(painted(frames, mask, int(name[2:]), colour) for name, colour in colours.items())


def request(frames: Tensor, mask: Tensor, keys: Keyframes | None = None, **changes: Any) -> EditRequest:
    text = torch.full((1, 16, 64), TEXT_COLOUR)
    settings: dict[str, Any] = {"negative_bld": torch.zeros_like(text), "seed": 5, "steps": STEPS, **changes}
    return EditRequest(frames, mask, text, keyframes=keys or Keyframes([]), **settings)


class Painter(nn.Module):
    """A denoiser that knows its answer: a hole shows what the nearest frame without a hole shows there, or the text's
    colour if there is no such frame; all else stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, noisy: Tensor, kept: Tensor, condition: Tensor, text: Tensor) -> Tensor:
        """The velocity, latents_bfchw, towards the answer, where `kept` is the signal's share at this time."""
        self.calls += 1
        frames, hole = condition[:, :, :3], condition[:, :, 3:]
        whole = [index for index in range(frames.shape[1]) if not bool(hole[0, index].any())]
        answer = frames.clone()
        for index in range(frames.shape[1]):
            nearest = min(whole, key=lambda other: abs(other - index), default=None)
            fill = text.mean() * 2 - 1 if nearest is None else frames[:, nearest]
            answer[:, index] = torch.where(hole[:, index] > 0.5, fill, frames[:, index])
        return (kept**0.5 * noisy - answer) / (1 - kept) ** 0.5


@dataclass(frozen=True)
class OracleAdapter:
    """Pixels are latents. `shift` is what decoding adds to all colours: a codec that drifts. `seen` collects the frames
    that the model was shown, keyframes in them, and the masks."""

    traits: Traits
    shift: float = 0.0
    seen: list[tuple[Tensor, Tensor]] = field(default_factory=list, repr=False)

    def noise_shape(self, frame_count: int, height: int, width: int) -> tuple[int, ...]:
        return 1, frame_count, 3, height, width

    def mask_latents(self, mask_fhw: Tensor, vae: nn.Module, place: Place) -> Tensor:
        return mask_fhw[None, :, None]

    def condition(
        self,
        frames_fhwc: Tensor,
        mask_fhw: Tensor,
        keys: Keyframes,
        vae: nn.Module,
        place: Place,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        self.traits.check_window(frames_fhwc, mask_fhw)
        frames, mask = with_keys(frames_fhwc, mask_fhw, keys)
        self.seen.append((frames, mask))
        pixels = rearrange(frames, "f h w c -> 1 f c h w") * 2 - 1
        return torch.cat([pixels, self.mask_latents(mask, vae, place)], dim=2)

    def predictor(
        self,
        transformer: nn.Module,
        condition: Tensor,
        prompt_bld: Tensor,
        negative_bld: Tensor | None,
        place: Place,
    ) -> Predict:
        kept = schedulers.make(self.traits.schedule).alphas_cumprod

        def predict(latents: Tensor, timestep: Tensor, prompted: tuple[bool, ...]) -> Tensor:
            return transformer(latents, kept[timestep[0]], condition, prompt_bld)

        return predict

    def decode(self, latents_bfchw: Tensor, frame_count: int, vae: nn.Module, place: Place) -> Tensor:
        pixels = rearrange(latents_bfchw[0, :frame_count], "f c h w -> f h w c")
        return (pixels / 2 + 0.5 + self.shift).clamp(0, 1)


def oracle_engine(shift: float = 0.0, **traits: Any) -> Engine:
    """An engine whose answer is known; each has a counter and a list of its own."""
    settings: dict[str, Any] = {
        "name": "oracle",
        "label": "The oracle",
        "schedule": schedulers.cogvideox(default="ddim"),
        "longest": 9,
        "pixels": SIDE * SIDE,
        "multiple": 8,
        "text_encoder": "none",
        "text_tokens": 16,
        "steps": STEPS,
        "guidance": Guidance(1.0),
        **traits,
    }
    return Engine(OracleAdapter(Traits(**settings), shift), Painter(), nn.Identity(), None, "oracle")


def windows_run(engine: Engine) -> int:
    """How many windows an oracle engine has made."""
    painter = engine.transformer
    assert isinstance(painter, Painter)
    return painter.calls // STEPS


def shown_to(engine: Engine) -> list[tuple[Tensor, Tensor]]:
    """Frames and mask of every window that an oracle engine has made."""
    adapter = engine.adapter
    assert isinstance(adapter, OracleAdapter)
    return adapter.seen

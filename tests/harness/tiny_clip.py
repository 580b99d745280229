"""Tiny CLIPs of the true architecture: transformers' model, and the same weights as ComfyUI's two halves."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WIDTH, SIDE, PATCH = 32, 32, 8
TEXT = {"hidden_size": WIDTH, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
VISION = {**TEXT, "hidden_size": 48, "image_size": SIDE, "patch_size": PATCH}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def clip_model(seed: int = 0, width: int = WIDTH, vocabulary: int = 2 * len(LETTERS) + 2) -> Any:
    """transformers' CLIPModel with random weights, large enough to tell texts and pictures apart. The last two tokens
    begin and end a text."""
    from transformers import CLIPConfig, CLIPModel

    ends = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1}
    text = {**TEXT, "hidden_size": width, "vocab_size": vocabulary, **ends}
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=width))
        for parameter in model.parameters():
            if parameter.ndim:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval().requires_grad_(False)


def comfys_tokenizer() -> Any:
    """CLIP's own tokenizer, as ComfyUI ships it: 49408 tokens."""
    import comfy.sd1_clip
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(Path(comfy.sd1_clip.__file__).with_name("sd1_tokenizer"))


def save_clip(folder: Path, model: Any) -> Path:
    """The folder that transformers saves, with a tokenizer that knows small letters."""
    model.save_pretrained(folder)
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    return folder


def comfy_vision(model: Any, folder: Path) -> Any:
    """ComfyUI's CLIP_VISION with the weights of `model`; `folder` takes its settings."""
    import comfy.clip_vision

    config = {**VISION, "model_type": "clip_vision_model", "num_channels": 3, "hidden_act": "quick_gelu"}
    path = folder / "vision.json"
    path.write_text(json.dumps({**config, "projection_dim": model.config.projection_dim}))
    vision = comfy.clip_vision.ClipVisionModel(str(path))
    held = model.state_dict()
    missing, _ = vision.load_sd({name: one for name, one in held.items() if name.startswith(("vision", "visual"))})
    assert [name for name in missing if "position_ids" not in name] == []
    vision.model.float()
    return vision


def comfy_clip(model: Any, projected: bool = True) -> Any:
    """ComfyUI's CLIP with the weights of `model`, as CLIPLoader gives it for clip_l; without its text projection it is
    as a checkpoint of SD 1.x gives it."""
    import comfy.sd
    import comfy.sd1_clip

    class Target:
        params: dict[str, Any] = {}
        clip = comfy.sd1_clip.SD1ClipModel
        tokenizer = comfy.sd1_clip.SD1Tokenizer

    text = {**TEXT, "hidden_size": model.config.projection_dim}
    options = {"clip_l_model_config": text, "dtype": torch.float32}
    clip = comfy.sd.CLIP(Target, model_options=options)
    weights = {name: one for name, one in model.state_dict().items() if name.startswith("text")}
    with torch.no_grad():
        clip.cond_stage_model.clip_l.transformer.text_projection.weight.zero_()
    if not projected:
        weights.pop("text_projection.weight")
    missing, _ = clip.load_sd(copy.deepcopy(weights))
    assert [name for name in missing if "position_ids" not in name] == ([] if projected else ["text_projection.weight"])
    return clip


def features(model: Any, pixels_bchw: Tensor, numbers: list[int]) -> tuple[Tensor, Tensor]:
    """The embeddings of pictures and of one text, of length 1, as transformers' CLIPModel makes them for its logits."""
    with torch.no_grad():
        made = model(pixel_values=pixels_bchw, input_ids=torch.tensor([numbers]))
    return made.image_embeds, made.text_embeds

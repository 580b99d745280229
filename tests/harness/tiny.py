"""Tiny models of the true architectures, with inputs: the real classes of diffusers, transformers and sam2.

They are so small that a forward takes a blink, and so made that every part has an effect on the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import tiny_sam2

Run = Callable[[nn.Module, torch.dtype, torch.device], Tensor]
FP32_AND_BF16 = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class TinyModel:
    """One architecture. `dtypes` are those in which the untouched module itself can run; `eight_bit` says which
    weights are stored in fp8, where that is offered."""

    name: str
    role: str
    build: Callable[[], nn.Module]
    run: Run  # one forward on a device, with inputs that are always the same
    dtypes: tuple[torch.dtype, ...] = FP32_AND_BF16
    kept_in_fp32: tuple[str, ...] = ()  # parts of names
    eight_bit: Callable[[str, nn.Parameter], bool] | None = None
    spread: float = 0.03

    @torch.inference_mode(False)
    def make(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
        """A new module with weights from the seed, on the CPU, not trainable; in `dtype` is what a file would hold."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.build()
            with torch.no_grad():
                for parameter in module.parameters():  # so that layers which begin at zero have an effect
                    parameter.add_(torch.randn_like(parameter) * self.spread)
        for name, tensor in module.state_dict(keep_vars=True).items():
            if tensor.is_floating_point() and not set(self.kept_in_fp32) & set(name.split(".")):
                tensor.data = tensor.data.to(dtype)
        return module.eval().requires_grad_(False)


def noise(*shape: int, dtype: torch.dtype, device: torch.device, seed: int = 1) -> Tensor:
    """The same numbers on every device."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype).to(device)


def step(device: torch.device, number: int = 7, batch: int = 1) -> Tensor:
    return torch.full((batch,), number, dtype=torch.int64).to(device)


def _matrix_of_a_block(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and "block" in name and not any(part in name for part in ("norm", "emb", "shared"))


def _matrix_of_a_layer(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and "layers" in name and not any(part in name for part in ("norm", "emb"))


# ------------------------------------------------------------------------------------------------------- CogVideoX


def _cogvideox() -> nn.Module:
    from diffusers import CogVideoXTransformer3DModel

    return CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=64,
        in_channels=16,
        out_channels=16,
        time_embed_dim=32,
        text_embed_dim=48,
        num_layers=4,
        sample_width=12,
        sample_height=8,
        sample_frames=9,
        patch_size=2,
        max_text_seq_length=10,
        use_rotary_positional_embeddings=True,
    )


def _run_cogvideox(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    frames, height, width = 3, 8, 12
    angles = noise(frames * height * width // 4, 64, dtype=torch.float32, device=device, seed=3)
    return module(
        hidden_states=noise(2, frames, 16, height, width, dtype=dtype, device=device),
        encoder_hidden_states=noise(2, 10, 48, dtype=dtype, device=device, seed=2),
        timestep=step(device, batch=2),
        image_rotary_emb=(angles.cos(), angles.sin()),
        return_dict=False,
    )[0]


def _cogvideox_vae() -> nn.Module:
    from diffusers import AutoencoderKLCogVideoX

    return AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 16, 16, 16),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )


def _run_cogvideox_vae(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    video = noise(1, 3, 5, 16, 16, dtype=dtype, device=device)
    return module.decode(module.encode(video).latent_dist.mode(), return_dict=False)[0]


# -------------------------------------------------------------------------------------------------------- Wan VACE


def _wan_vace() -> nn.Module:
    from diffusers import WanVACETransformer3DModel

    return WanVACETransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=24,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=32,
        ffn_dim=96,
        num_layers=3,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
        vace_layers=[0, 2],
        vace_in_channels=96,
    )


def _run_wan_vace(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    return module(
        hidden_states=noise(1, 16, 2, 8, 8, dtype=dtype, device=device),
        timestep=step(device),
        encoder_hidden_states=noise(1, 6, 32, dtype=dtype, device=device, seed=2),
        control_hidden_states=noise(1, 96, 2, 8, 8, dtype=dtype, device=device, seed=3),
        control_hidden_states_scale=torch.tensor([1.0, 0.5]).to(dtype).to(device),
        return_dict=False,
    )[0]


def _wan_vae() -> nn.Module:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(base_dim=4, z_dim=16, num_res_blocks=1)


def _run_wan_vae(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    video = noise(1, 3, 5, 16, 16, dtype=dtype, device=device)
    return module.decode(module.encode(video).latent_dist.mode(), return_dict=False)[0]


# ---------------------------------------------------------------------------------------------- U-Nets, ControlNet


def _unet_motion() -> nn.Module:
    from diffusers import UNetMotionModel

    return UNetMotionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        cross_attention_dim=32,
        num_attention_heads=4,
        motion_num_attention_heads=2,
        motion_max_seq_length=16,
        use_motion_mid_block=True,
    )


def _run_unet_motion(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    video, text = (noise(*shape, dtype=dtype, device=device) for shape in ((1, 4, 4, 16, 16), (4, 7, 32)))
    return module(video, step(device), text, return_dict=False)[0]


def _unet2d() -> nn.Module:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=5,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
    )


def _run_unet2d(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    images, text = noise(2, 5, 16, 16, dtype=dtype, device=device), noise(2, 7, 32, dtype=dtype, device=device)
    return module(images, step(device), text, return_dict=False)[0]


def _controlnet() -> nn.Module:
    from diffusers import ControlNetModel

    return ControlNetModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        conditioning_embedding_out_channels=(16, 32),
    )


def _run_controlnet(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    images, text = noise(2, 4, 16, 16, dtype=dtype, device=device), noise(2, 7, 32, dtype=dtype, device=device)
    hint = noise(2, 3, 32, 32, dtype=dtype, device=device, seed=3)
    residuals, middle = module(images, step(device), text, hint, return_dict=False)
    return torch.cat([part.flatten() for part in (*residuals, middle)])


def _autoencoder_kl() -> nn.Module:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 16, 16),
        norm_num_groups=4,
        mid_block_add_attention=False,  # its norm gets a transposed input, which the pretend accelerator can't take
    )


def _run_autoencoder_kl(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    pictures = noise(2, 3, 16, 16, dtype=dtype, device=device)
    return module.decode(module.encode(pictures).latent_dist.mode(), return_dict=False)[0]


# ------------------------------------------------------------------------------------------- text, depth, segments


def _clip_text() -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = {"vocab_size": 200, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3}
    return CLIPTextModel(CLIPTextConfig(**sizes, num_attention_heads=2, bos_token_id=198, eos_token_id=199))


def _run_clip_text(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    return module(torch.arange(77)[None].to(device)).last_hidden_state


def _t5() -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=200,
            d_model=64,
            d_kv=16,
            d_ff=128,
            num_layers=3,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


def _run_t5(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    return module(torch.arange(20)[None].to(device)).last_hidden_state


def _umt5() -> nn.Module:
    from transformers import UMT5Config, UMT5EncoderModel

    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=200,
            d_model=64,
            d_kv=16,
            d_ff=128,
            num_layers=3,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


def _run_umt5(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    numbers = torch.arange(20)[None].to(device)
    return module(numbers, attention_mask=(numbers < 12).long()).last_hidden_state


def _depth_anything() -> nn.Module:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    module = DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=backbone,
            reassemble_hidden_size=32,
            patch_size=14,
            neck_hidden_sizes=[16, 16, 16, 16],
            fusion_hidden_size=16,
            head_hidden_size=8,
            reassemble_factors=[4, 2, 1, 0.5],
        )
    )
    nn.init.ones_(module.head.conv3.bias)  # depth is cut off at 0, and would be 0 everywhere
    return module


def _run_depth_anything(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    return module(noise(1, 3, 56, 56, dtype=dtype, device=device)).predicted_depth


def _run_sam2(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    first, second = (noise(1, 3, *[tiny_sam2.SIZE] * 2, dtype=dtype, device=device, seed=seed) for seed in (1, 2))
    tracked = tiny_sam2.track(module, first, second).cpu()
    return torch.cat([tracked.flatten(), tiny_sam2.segment(module).flatten()])


WAN_IN_FP32 = ("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")  # as diffusers loads it
MODELS = (
    TinyModel("cogvideox", "denoiser", _cogvideox, _run_cogvideox, eight_bit=_matrix_of_a_block),
    TinyModel("cogvideox_vae", "vae", _cogvideox_vae, _run_cogvideox_vae),
    TinyModel("wan_vace", "denoiser", _wan_vace, _run_wan_vace, kept_in_fp32=WAN_IN_FP32, eight_bit=_matrix_of_a_block),
    TinyModel("wan_vae", "vae", _wan_vae, _run_wan_vae),
    TinyModel("unet_motion", "denoiser", _unet_motion, _run_unet_motion, eight_bit=_matrix_of_a_block),
    TinyModel("unet2d", "denoiser", _unet2d, _run_unet2d, eight_bit=_matrix_of_a_block),
    TinyModel("controlnet", "controlnet", _controlnet, _run_controlnet),
    TinyModel("autoencoder_kl", "vae", _autoencoder_kl, _run_autoencoder_kl),
    TinyModel("clip_text", "text_encoder", _clip_text, _run_clip_text, eight_bit=_matrix_of_a_layer),
    TinyModel("t5", "text_encoder", _t5, _run_t5, eight_bit=_matrix_of_a_block),
    TinyModel("umt5", "text_encoder", _umt5, _run_umt5, eight_bit=_matrix_of_a_block),
    TinyModel("depth_anything", "depth", _depth_anything, _run_depth_anything, spread=0.1),
    # sam2 mixes fp32 positions into its features, and so runs in fp32 (or under autocast) only.
    TinyModel("sam2", "segmenter", tiny_sam2.build, _run_sam2, dtypes=(torch.float32,)),
)
BY_NAME = {model.name: model for model in MODELS}

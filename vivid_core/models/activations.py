"""How much memory a model needs beside its weights: the peak of one forward, in bytes, from the sizes of its inputs.

ComfyUI makes this room before the forward, so too little ends in an out-of-memory error and too much in weights that
are streamed without need. The constants are elements (numbers, of `element_bytes` bytes each) that are alive at the
worst moment. They were measured with `tests/harness/live_memory.py`, which runs the real modules at real widths on fake
tensors, and `tests/core/test_activations.py` measures them again. Inputs and results count, weights don't.

Attention is taken to be fused (flash, sage, xformers, or PyTorch's own): it never holds the matrix of scores. With
`attention_is_fused=False` (ComfyUI's split and sub-quadratic attention) there must also be room for the scores of
`UNFUSED_ROWS` queries, before and after the softmax; both kinds take fewer or more at a time, by what is free. They are
added to the peak of the fused forward, which comes at another moment, and so leaves room for the copies that both kinds
make of queries, keys and values. Where the number of tokens is no multiple of its steps, split attention takes all
queries at once; no estimate could make room for that in a long video, so none does.
"""

from __future__ import annotations

import math

from . import cogvideox, wan_vace

# Over what was measured: an allocator rounds up and fragments, and a streamed layer is on the device a second time.
MARGIN = 1.1
UNFUSED_ROWS = 512
UNFUSED_STEPS = 64  # split attention gives up rather than take smaller steps, so long inputs need more rows

RGB = 3
VAE_CHANNELS = 128  # of CogVideoX's VAE, at full size
WHOLE_CONVOLUTION = 2**30  # elements; diffusers cuts its 3D convolutions of more in pieces, and copies those


def cogvideox_transformer(
    batch: int,
    frames: int,
    height: int,
    width: int,
    *,
    inner_width: int,
    element_bytes: int,
    patch: int = 2,
    patch_frames: int | None = None,
    text_tokens: int = cogvideox.TEXT_TOKENS,
    attention_is_fused: bool = True,
) -> int:
    """Bytes for a forward of a CogVideoX transformer on latents (batch, frames, channels, height, width).

    `inner_width` is heads x 64 (3072 in 5B, 1920 in 2B), `patch` and `patch_frames` are the config's patch_size and
    patch_size_t (2 in 1.5, None before), and `batch` is 2 where both prompts go through together.

    Measured: 13.05 x inner_width elements for each token of patches and text in bf16, where the rotary positions are
    fp32; 12.1 in fp32 and without rotary positions, for which the same factor serves.
    """
    tokens = -(-frames // (patch_frames or 1)) * -(-height // patch) * -(-width // patch) + text_tokens
    scores = _scores(batch * inner_width // cogvideox.HEAD_DIM, tokens, attention_is_fused)
    return _bytes(13.05 * batch * tokens * inner_width, element_bytes, scores)


def wan_vace_transformer(
    batch: int,
    frames: int,
    height: int,
    width: int,
    *,
    inner_width: int,
    feed_forward_width: int,
    vace_blocks: int,
    element_bytes: int,
    patch: tuple[int, int, int] = (1, 2, 2),
    text_tokens: int = 512,
    text_width: int = 4096,
    attention_is_fused: bool = True,
) -> int:
    """Bytes for a forward of a Wan VACE transformer on latents (batch, channels, frames, height, width).

    `inner_width` is heads x 128, `feed_forward_width` the config's ffn_dim (1536 and 8960 in 1.3B, 5120 and 13824 in
    14B), `vace_blocks` the number of its vace_layers (15 and 8), `patch` its patch_size over frames, height and width.

    Measured: for each token 12.05 x inner_width elements at the rotary positions or 5.2 x inner_width +
    2 x feed_forward_width in the feed-forward, whichever is more, and inner_width more for each VACE block, as all
    hints are computed before the first layer uses one. Beside that the tables of positions, two fp64 for each token and
    channel of a head, and the text. Unfused attention holds 8 x inner_width beside its scores; here that counts by
    itself, as the feed-forward of 1.3B alone may need more.
    """
    tokens = math.prod(-(-size // step) for size, step in zip((frames, height, width), patch))
    text = text_tokens * (text_width + 2 * inner_width)
    tables = 2 * 8 * wan_vace.HEAD_DIM * tokens / element_bytes
    kept = batch * (tokens * vace_blocks * inner_width + text) + tables
    scores = _scores(batch * inner_width // wan_vace.HEAD_DIM, tokens, attention_is_fused)
    attention = 8 * batch * tokens * inner_width + scores
    forward = batch * tokens * max(12.05 * inner_width, 5.2 * inner_width + 2 * feed_forward_width)
    return _bytes(kept + max(attention, forward), element_bytes)


def cogvideox_vae_decode(
    batch: int, frames: int, height: int, width: int, *, element_bytes: int, tile: tuple[int, int] | None = None
) -> int:
    """Bytes for decoding latents (batch, 16, frames, height / 8, width / 8) to a video of height x width pixels.

    `frames` are latent ones. `tile` is the VAE's tile in pixels (height, width) where tiling is on: half its config's
    sample size, so (240, 360). Attention is not part of it.

    Measured, elements for each pixel: 5175 for one latent frame, 17 190 for two or three (one pass of the decoder),
    22 890 for more (what the convolutions keep of the pass before is there as well), and the decoded frames. With tiles
    that is for each pixel of a tile; all tiles, which overlap to 1.5 times the video, are kept, and joining them takes
    two more copies.
    """
    for_pixel = 5200 if frames == 1 else 17200 if frames <= 3 else 22900
    video = batch * RGB * (4 * frames + 1) * height * width
    if tile is None or (height <= tile[0] and width <= tile[1]):
        return _bytes(batch * for_pixel * height * width + video, element_bytes)
    decoding = batch * for_pixel * min(height, tile[0]) * min(width, tile[1]) + 1.5 * video
    return _bytes(max(decoding, 3.5 * video), element_bytes)


def cogvideox_vae_encode(
    batch: int, frames: int, height: int, width: int, *, element_bytes: int, tile: tuple[int, int] | None = None
) -> int:
    """Bytes for encoding a video (batch, 3, frames, height, width), `frames`, height and width in pixels.

    `tile` as for decoding. Attention is not part of it.

    Measured, elements for each pixel: 1850 and 643 for each frame of a pass (2120 and 835 once its convolutions are so
    large that diffusers cuts them), and the whole video. The first pass takes eight frames and what is left over
    eights; in those after it, of eight, 2700 more are what the convolutions keep of the pass before. With tiles for
    each pixel of a tile.
    """
    tiled = tile is not None and (height > tile[0] or width > tile[1])
    area = min(height, tile[0]) * min(width, tile[1]) if tile is not None and tiled else height * width
    first = frames if frames < 8 else 8 + frames % 8

    def for_pixel(count: int) -> int:
        cut = batch * VAE_CHANNELS * (count + 2) * area > WHOLE_CONVOLUTION  # two frames are of the pass before
        return 2120 + 835 * count if cut else 1850 + 643 * count

    elements = max(for_pixel(first), 2700 + for_pixel(8) if frames >= 16 else 0)
    return _bytes(batch * elements * area + batch * RGB * frames * height * width, element_bytes)


def wan_vae_decode(
    batch: int, frames: int, height: int, width: int, *, element_bytes: int, tile: tuple[int, int] | None = None
) -> int:
    """Bytes for decoding to a video (batch, 3, frames, height, width) with Wan's VAE, `frames`, height and width in
    pixels.

    `tile` is the VAE's tile in pixels (height, width) where tiling is on (256 x 256). Attention is not part of it.

    Measured, elements for each pixel: 1727 for one frame, 4858 for five, 5071 for more (what the convolutions keep of
    the frames before is there as well), and the decoded frames. With tiles that is for each pixel of a tile; all
    tiles, which overlap to at most 1.8 times the video, are kept, and joining them takes up to 4.7 videos.
    """
    for_pixel = 1730 if frames == 1 else 5080
    video = batch * RGB * frames * height * width
    if tile is None or (height <= tile[0] and width <= tile[1]):
        return _bytes(batch * for_pixel * height * width + video, element_bytes)
    decoding = batch * for_pixel * min(height, tile[0]) * min(width, tile[1]) + 1.8 * video
    return _bytes(max(decoding, 4.7 * video), element_bytes)


def wan_vae_encode(
    batch: int, frames: int, height: int, width: int, *, element_bytes: int, tile: tuple[int, int] | None = None
) -> int:
    """Bytes for encoding a video (batch, 3, frames, height, width) with Wan's VAE; `tile` as for decoding.

    Measured, elements for each pixel: 965 for one frame, 3315 for five, 3727 for more, and the whole video. With tiles
    for each pixel of a tile.
    """
    for_pixel = 970 if frames == 1 else 3330 if frames <= 5 else 3740
    tiled = tile is not None and (height > tile[0] or width > tile[1])
    area = min(height, tile[0]) * min(width, tile[1]) if tile is not None and tiled else height * width
    return _bytes(batch * for_pixel * area + batch * RGB * frames * height * width, element_bytes)


def sd_unet(
    images: int,
    height: int,
    width: int,
    *,
    element_bytes: int,
    controlled: bool = False,
    attention_is_fused: bool = True,
) -> int:
    """Bytes for a forward of an SD 1.x or 2.x U-Net on latents (images, channels, height, width).

    For UNetMotionModel `images` is batch x frames: its motion modules stay below the peak of the image layers.
    `controlled` says that the residuals of ControlNets come in (several ControlNets' are added up first). Not for SDXL.

    Measured: 8340 elements for each latent pixel, in the feed-forward of the widest blocks at full size, and 2300 for
    the residuals. Unfused, the self-attention at full size counts with the eight heads of SD 1.5.
    """
    pixels = height * width
    scores = _scores(8 * images, pixels, attention_is_fused)
    return _bytes(images * pixels * (8340 + 2300 * controlled), element_bytes, scores)


def controlnet(images: int, height: int, width: int, *, element_bytes: int, attention_is_fused: bool = True) -> int:
    """Bytes for a forward of an SD 1.x or 2.x ControlNet on latents (images, 4, height, width) and pictures of 8 times
    that size, with the residuals that it returns.

    Measured: 7900 elements for each latent pixel.
    """
    pixels = height * width
    return _bytes(images * pixels * 7900, element_bytes, _scores(8 * images, pixels, attention_is_fused))


def t5_encoder(
    batch: int,
    tokens: int,
    *,
    inner_width: int = 4096,
    heads: int = 64,
    element_bytes: int,
    masked: bool = False,
    attention_is_fused: bool = True,
) -> int:
    """Bytes for encoding texts (batch, tokens) with a T5 encoder; the sizes are T5-XXL's.

    `masked` says that an attention mask hides the padding.

    Measured: for each token 14.1 x inner_width elements, and the table of biases (heads, tokens, tokens), in the
    feed-forward; or 7.1 x inner_width and two such tables in the attention. Without a mask a table is one for all
    texts; with it there are two for each text, and the common one.
    """
    table = heads * tokens**2
    inner = batch * tokens * inner_width
    in_attention = 7.1 * inner + (2 * batch + 1 if masked else 2) * table
    scores = _scores(batch * heads, tokens, attention_is_fused)
    return _bytes(max(14.1 * inner + table, in_attention), element_bytes, scores)


def sam2_image_encoder(
    images: int,
    height: int = 1024,
    width: int = 1024,
    *,
    embed_width: int = 144,
    element_bytes: int,
    attention_is_fused: bool = True,
) -> int:
    """Bytes for SAM 2's image encoder on pictures (images, 3, height, width).

    `embed_width` is the trunk's embed_dim: 144 in large, 112 in base plus, 96 in small and tiny.

    Measured, for each pixel: 0.72 x embed_width elements in the feed-forwards of the first stage; or 170 bytes for the
    tables of positions, which are fp32 whatever the features are, beside 21.5 + 0.12 x embed_width elements of
    features. Unfused, the blocks that look at the whole picture (at patches of 16 pixels, with heads of 56 channels
    or more) count.
    """
    features = 0.72 * embed_width * element_bytes
    positions = 170 + (21.5 + 0.12 * embed_width) * element_bytes
    scores = _scores(images * 4 * embed_width // 56, height * width // 16**2, attention_is_fused)
    return _bytes(images * height * width * max(features, positions) / element_bytes, element_bytes, scores)


def sam2_step(
    side: int = 1024,
    *,
    remembered: int,
    cached: int,
    embed_width: int = 144,
    element_bytes: int,
    attention_is_fused: bool = True,
) -> int:
    """Bytes for following an object to one more frame with SAM 2, on pictures of side x side pixels.

    `remembered` are the frames that the memory attention looks at, `cached` those whose features are kept, and
    `embed_width` is as for the image encoder.

    Measured, for each pixel: 4 elements for a frame's features, 84 bytes for the tables of positions, and then either
    the image encoder, or 5.5 elements and 5.4 x 256 for each place (of 16 x 16 pixels) of each remembered frame.
    Unfused, the memory attention has one head, and all its places look at all that is remembered.
    """
    pixels, places = side**2, (side // 16) ** 2
    kept = _bytes(pixels * (4 * cached + 84 / element_bytes), element_bytes)
    encoder = sam2_image_encoder(
        1,
        side,
        side,
        embed_width=embed_width,
        element_bytes=element_bytes,
        attention_is_fused=attention_is_fused,
    )
    scores = 0 if attention_is_fused else 2 * min(places, UNFUSED_ROWS) * remembered * places
    return kept + max(encoder, _bytes(5.5 * pixels + 5.4 * 256 * places * remembered, element_bytes, scores))


def depth_anything(
    images: int,
    height: int,
    width: int,
    *,
    fusion_width: int,
    heads: int,
    element_bytes: int,
    attention_is_fused: bool = True,
) -> int:
    """Bytes for Depth Anything on pictures (images, 3, height, width), in the size in which it gets them.

    `fusion_width` is the config's fusion_hidden_size and `heads` its backbone's: 64 and 6 in small, 128 and 12 in base,
    256 and 16 in large.

    Measured: 35 + 1.06 x fusion_width elements for each pixel, in the head. Patches have 14 pixels.
    """
    scores = _scores(images * heads, height * width // 14**2 + 1, attention_is_fused)
    return _bytes(images * height * width * (35 + 1.06 * fusion_width), element_bytes, scores)


def _scores(heads: int, tokens: int, attention_is_fused: bool) -> int:
    """Elements of the scores that are held where `tokens` look at each other, `heads` over the whole batch."""
    if attention_is_fused:
        return 0
    rows = min(tokens, max(UNFUSED_ROWS, -(-tokens // UNFUSED_STEPS)))
    return 2 * heads * rows * tokens


def _bytes(elements: float, element_bytes: int, scores: int = 0) -> int:
    return math.ceil((MARGIN * elements + scores) * element_bytes)

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))
import editing_models as models
import pytest, torch
from harness import tiny
from harness.inprocess import bridge
from vivid_core.diffusion import schedulers
from vivid_core.diffusion.denoise import denoise, generator_for, noise
from vivid_core.editors.adapters import cogvideox
from vivid_core.editors.adapters.wan_vace import wan_vace
from vivid_core.editors.contract import Place
from vivid_core.models.widening import widen
from vivid_core.video.keyframes import Keyframe, Keyframes
from vivid_core.runtime import Runtime

pytestmark = pytest.mark.usefixtures("comfy_base")


def wanvae():
    from diffusers import AutoencoderKLWan

    return tiny.TinyModel(
        "vae",
        "vae",
        lambda: AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        lambda *_: torch.empty(0),
    ).make()


def edit(adapter, transformer, vae, runtime, place, texts, size, sampler):
    g = torch.Generator().manual_seed(1)
    frames = torch.rand(9, *size, 3, generator=g)
    mask = torch.zeros(9, *size)
    mask[:, 8:24, 8:24] = 1
    keys = Keyframes([Keyframe(0, torch.rand(*size, 3, generator=g))])
    with runtime.hold(vae):
        condition = adapter.condition(frames, mask, keys, vae, place, generator_for(5))
    predict = adapter.predictor(transformer, condition, *texts, place)
    start = noise(adapter.noise_shape(9, *size), generator_for(1), place.device)
    runtime.begin(3)
    latents = denoise(
        predict,
        schedulers.make(adapter.traits.schedule, sampler),
        start,
        3,
        adapter.traits.guidance,
        generator_for(2),
        runtime,
        [transformer],
    )
    with runtime.hold(vae):
        return adapter.decode(latents, 9, vae, place)


@pytest.mark.parametrize("family", ("1.0", "1.5", "2B", "wan"))
@pytest.mark.parametrize("which", (0, 1))
@torch.inference_mode()
def test_it(accelerator, family, which):
    def make():
        with torch.inference_mode(False):
            if family == "wan":
                t, v = tiny.BY_NAME["wan_vace"].make(), wanvae()
                a = wan_vace(dict(t.config))
                tx = [tiny.noise(1, 6, 32, dtype=torch.float32, device=torch.device("cpu"), seed=s) for s in (1, 2)]
                return a, t, v, tx, (32, 48)
            t, v = models.with_random_new_columns(widen(models.text_to_video(family), 33)), models.vae()
            return cogvideox.vivid(dict(t.config)), t, v, [models.text(1), models.text(2)], (64, 96)

    a, t, v, tx, size = make()
    sampler = list(a.traits.schedule.samplers)[which]
    plain = edit(a, t, v, Runtime(), Place(), tx, size, sampler)
    a, t, v, tx, size = make()
    results = []
    for room in (64 << 20,):
        accelerator.set_capacity(room)
        mt, mv = bridge("patcher").manage(t, role="denoiser"), bridge("patcher").manage(v, role="vae")
        rt = bridge("progress").ComfyRuntime(mt, mv)
        results.append(edit(a, t, v, rt, Place(accelerator.device), tx, size, sampler))
    print((results[0] - plain).abs().max())
    assert (results[0] - plain).abs().max() < 1e-4

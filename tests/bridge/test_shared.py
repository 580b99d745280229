"""One instance of each model: shared by those who ask alike, gone when nobody holds it."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path

import pytest
import torch
from harness import tiny
from harness.inprocess import bridge
from safetensors.torch import save_file

COGVIDEOX = tiny.BY_NAME["cogvideox"]
pytestmark = pytest.mark.usefixtures("comfy_base")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cogvideox.safetensors"
    save_file(COGVIDEOX.make(torch.float32).state_dict(), path)
    return path


def load(path: Path, precision: str = "fp32"):
    return bridge("loading").load_model(path, {"cogvideox"}, precision)


def test_two_loads_of_a_file_share_the_weights(file: Path) -> None:
    before = bridge("shared").SHELF.builds
    one, other = load(file), load(file)
    assert one.module is other.module and one.patcher is not other.patcher
    assert bridge("shared").SHELF.builds == before + 1


def test_a_link_to_the_file_is_the_same_file(file: Path) -> None:
    link = file.with_name("link.safetensors")
    os.symlink(file, link)
    assert load(file).module is load(link).module


def test_another_precision_is_another_model(file: Path) -> None:
    one, other = load(file), load(file, "bf16")
    assert one.module is not other.module
    assert {parameter.dtype for parameter in other.module.parameters()} == {torch.bfloat16}


def test_a_file_that_was_written_over_is_another_model(file: Path) -> None:
    one = load(file)
    save_file(COGVIDEOX.make(torch.float32, seed=1).state_dict(), file)
    os.utime(file, ns=(0, 1))
    other = load(file)
    assert one.module is not other.module


def test_a_model_lives_as_long_as_somebody_holds_it_and_no_longer(file: Path) -> None:
    gc.collect()
    before = bridge("shared").SHELF.live()
    one = load(file)
    module = weakref.ref(one.module)
    other = one.clone()
    del one
    assert module() is not None and bridge("shared").SHELF.live() == before + 1
    gc.disable()
    try:
        del other
        assert module() is None and bridge("shared").SHELF.live() == before
    finally:
        gc.enable()


def test_weights_of_a_kept_dtype_stay_mapped_to_their_file(file: Path) -> None:
    model = load(file)
    here = Path("/proc/self/maps")
    if not here.exists():
        pytest.skip("needs /proc to see what is mapped")
    mapped = []
    for line in here.read_text().splitlines():
        if line.endswith(str(file)):
            start, end = (int(address, 16) for address in line.split()[0].split("-"))
            mapped.append((start, end))
    largest = max(model.module.parameters(), key=lambda parameter: parameter.nbytes)
    assert any(start <= largest.data_ptr() < end for start, end in mapped)


def test_weights_can_be_trained_and_patched_though_they_were_loaded_in_a_node(file: Path) -> None:
    with torch.inference_mode():
        model = load(file)
    assert not any(parameter.is_inference() for parameter in model.module.parameters())


def test_a_copy_of_its_own_can_be_made_for_the_classic_patcher_and_for_a_second_gpu(file: Path) -> None:
    model = load(file)
    if not hasattr(model.patcher, "cached_patcher_init"):
        pytest.skip("this ComfyUI rebuilds no patchers")
    rebuild, arguments = model.patcher.cached_patcher_init
    copies = [rebuild(*arguments, disable_dynamic=True), model.patcher.deepclone_multigpu()]
    assert not getattr(copies[0], "is_dynamic", lambda: False)()
    for copy in copies:
        assert copy.model is not model.host and copy.model.inner is not model.module
        weights = copy.model.inner.state_dict()
        assert all(torch.equal(weights[key], tensor) for key, tensor in model.module.state_dict().items())


def test_the_note_on_precision_reaches_whoever_asks_later_too(file: Path) -> None:
    one, other = load(file, "bf16"), load(file, "bf16")
    assert one.notes == other.notes
    expected = 0 if one.compute_dtype == torch.bfloat16 else 1
    assert len(one.notes) == expected

"""SAM 2 as a family: built from plain values, it is what the package builds from its configuration files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import tiny_sam2
from harness.segmenters import CONFIG as TINY
from harness.segmenters import clip, save

from vivid_core.masks.prompts import Prompt, Prompts
from vivid_core.masks.sam2_session import Sam2Segmenter
from vivid_core.masks.track_sam2 import track_by_segmenter
from vivid_core.models import sam2
from vivid_core.models.families import FAMILIES, check_family, detect, empty, fill
from vivid_core.models.files import open_weights, read_tensors

pytest.importorskip("sam2")

ROOT = Path(__file__).resolve().parents[2]
FILES = {"tiny": "t", "small": "s", "base plus": "b+", "large": "l"}


@pytest.fixture
def hydra() -> Iterator[None]:
    """Hydra as the package starts it, to read the package's configurations; gone again afterwards."""
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    initialize_config_module("sam2", version_base="1.2")
    yield
    GlobalHydra.instance().clear()


def released(name: str, version: str) -> Any:
    """What the package's video builder makes of its own file, without weights."""
    from hydra import compose
    from hydra.utils import instantiate

    prefix = "sam2" if version == "2.0" else "sam2.1"
    settings = compose(f"configs/{prefix}/{prefix}_hiera_{FILES[name]}.yaml")
    built = replace(sam2.FAMILY, build=lambda _: instantiate(settings.model, _recursive_=True, _convert_="all"))
    return empty(built, {})


def plain(module: Any) -> dict[str, Any]:
    """The numbers, flags and sizes that decide what a module and its children compute."""
    kinds = (bool, int, float, str, tuple, list, type(None))
    return {
        f"{name}.{key}": tuple(value) if isinstance(value, list) else value
        for name, child in module.named_modules()
        for key, value in vars(child).items()
        if isinstance(value, kinds) and not key.startswith("_")
    }


@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize("name", FILES)
def test_each_released_size_is_told_from_its_shapes_and_built_as_the_package_does(
    hydra: None, name: str, version: str, tmp_path: Path
) -> None:
    theirs = released(name, version)
    shapes = {key: tensor.shape for key, tensor in theirs.state_dict().items()}
    # a file of the right shapes, all of whose tensors share one number
    torch.save({"model": {key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}}, tmp_path / "sam2.pt")
    files = open_weights(tmp_path / "sam2.pt")
    family = check_family(files, {"sam2"})
    config = family.config(files)
    assert sam2.title(config) == f"SAM {version.removesuffix('.0')} {name}"
    ours: Any = empty(family, config)
    assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == shapes
    expected = plain(theirs)
    apart = {key for key, value in plain(ours).items() if expected.get(key) != value}
    added = {"binarize_mask_from_pts_for_mem_enc", "dynamic_multimask_via_stability"}  # by the package's video builder
    assert {key.rpartition(".")[2] for key in apart} <= added, apart
    assert ours.binarize_mask_from_pts_for_mem_enc and ours.sam_mask_decoder.dynamic_multimask_via_stability
    assert (ours.sam_mask_decoder.dynamic_multimask_stability_delta, ours.image_size) == (0.05, 1024)


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_a_file_of_either_kind_is_loaded_and_tracks(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = tiny_sam2.build()
    save(made, tmp_path / f"model.{kind}")
    files = open_weights(tmp_path)
    family = check_family(files, {"sam2"})
    module = empty(family, family.config(files))
    fill(module, family.convert(read_tensors(files)), "model")
    for name, tensor in made.state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor)
    track = track_by_segmenter(clip(2), Prompts([Prompt(0, points=((0.4, 0.5, 1),))]), Sam2Segmenter(module, "file"))
    assert track.frame_count == 2


@pytest.mark.parametrize("side", [256, 512])
def test_smaller_pictures_need_no_other_weights(side: int) -> None:
    small = empty(sam2.FAMILY, {**TINY, "image_size": side})
    assert {key: value.shape for key, value in small.state_dict().items()} == {
        key: value.shape for key, value in tiny_sam2.build().state_dict().items()
    }
    with pytest.raises(ValueError, match="multiple of 32"):
        empty(sam2.FAMILY, {**TINY, "image_size": side + 1})


def test_an_unknown_size_asks_for_its_config(tmp_path: Path) -> None:
    torch.save({"model": tiny_sam2.build().state_dict()}, tmp_path / "own.pt")
    files = open_weights(tmp_path / "own.pt")
    assert detect(files) in FAMILIES and detect(files).name == "sam2"
    with pytest.raises(ValueError, match="own.pt is a SAM 2 model of a size that is not known .*config.json"):
        sam2.config(files)


def run(code: str) -> str:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + code  # make test takes the working folder off the path
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


BUILD = f"from vivid_core.models import sam2; from vivid_core.models.families import empty; TINY = {TINY!r}\n"


def test_building_leaves_no_hydra_and_imports_no_package_called_training() -> None:
    assert "False False" in run(
        BUILD + "import sys; empty(sam2.FAMILY, TINY)\n"
        "from hydra.core.global_hydra import GlobalHydra\n"
        "print(GlobalHydra.instance().is_initialized(), 'training' in sys.modules)"
    )


def test_hydra_of_another_pack_is_left_as_it_was() -> None:
    assert "True True" in run(
        BUILD + "from hydra import initialize_config_module; from hydra.core.global_hydra import GlobalHydra\n"
        "initialize_config_module('json', version_base='1.2'); hydra = GlobalHydra.instance().hydra\n"
        "empty(sam2.FAMILY, TINY)\n"
        "print(GlobalHydra.instance().is_initialized(), GlobalHydra.instance().hydra is hydra)"
    )


@pytest.mark.parametrize("missing", ["sam2", "hydra"])
def test_without_the_package_one_sentence_gives_the_command(missing: str) -> None:
    told = run(
        BUILD + f"import sys; sys.modules[{missing!r}] = None\n"
        "try: empty(sam2.FAMILY, TINY)\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    assert f"{missing} is not installed" in told
    assert f'run "{sys.executable}" -m pip install --no-build-isolation sam2 and restart ComfyUI' in told
    assert "optical flow" in told

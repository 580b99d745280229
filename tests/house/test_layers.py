"""The house rules that a linter does not know: who may import whom, how long things grow, what text may say."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CORE = sorted((ROOT / "vivid_core").rglob("*.py"))
NODES = sorted((ROOT / "nodes").rglob("*.py"))
BRIDGE = ROOT / "nodes" / "comfy_bridge"
COMFY_INSIDES = {"comfy", "comfy_execution", "comfy_extras", "execution", "folder_paths", "server", "latent_preview"}
PUBLIC_API = {"comfy_api"}
LAZY = {"accelerate", "cv2", "scipy", "av", "PIL", "diffusers", "peft", "sam2", "transformers", "torchvision"}
LOWER_ROOMS = {  # what each room of vivid_core may import of the others
    "video": {"video"},
    "masks": {"masks", "video"},
    "models": {"models", "video", "masks"},
    "diffusion": {"diffusion", "models", "video", "masks"},
    "editors": {"editors", "diffusion", "models", "video", "masks"},
    "metrics": {"metrics", "editors", "diffusion", "models", "video", "masks"},
    "training": {"training", "metrics", "editors", "diffusion", "models", "video", "masks"},
    "evaluate": {"evaluate", "training", "metrics", "editors", "diffusion", "models", "video", "masks"},
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path, top_level_only: bool = False) -> Iterator[tuple[int, str]]:
    """(how many dots, module) of each import in a file."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_vivid_core_never_imports_comfyui_or_the_nodes(path: Path) -> None:
    for level, module in imports(path):
        assert level or module.split(".")[0] not in COMFY_INSIDES | PUBLIC_API | {"nodes", "vivid_core"}, module
        depth = len(path.relative_to(ROOT / "vivid_core").parts)
        assert level <= depth, f"{module} is imported from outside vivid_core"


@pytest.mark.parametrize("path", NODES, ids=name_of)
def test_only_the_bridge_imports_comfyuis_insides(path: Path) -> None:
    if BRIDGE in path.parents:
        return
    for level, module in imports(path):
        assert level or module.split(".")[0] not in COMFY_INSIDES, f"{module} belongs into nodes/comfy_bridge"


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_rooms_of_vivid_core_import_downwards_only(path: Path) -> None:
    parts = path.relative_to(ROOT / "vivid_core").parts
    if len(parts) == 1:
        return
    for level, module in imports(path):
        room = module.split(".")[0]
        if level == 2 and room in LOWER_ROOMS:
            assert room in LOWER_ROOMS[parts[0]], f"{parts[0]} must not import {room}"


@pytest.mark.parametrize("path", [*CORE, *NODES], ids=name_of)
def test_heavy_packages_are_imported_where_they_are_used(path: Path) -> None:
    allowed = {"PIL"} if BRIDGE in path.parents else set()
    for level, module in imports(path, top_level_only=True):
        assert level or module.split(".")[0] not in LAZY - allowed, f"{module} is imported when the pack loads"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "define_schema":
            yield node


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without the docstring: a signature on many lines and a good docstring are no fault."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", [*CORE, *NODES], ids=name_of)
def test_files_and_functions_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 320, "split the file by idea"
    for function in functions(path):
        assert code_lines(function) <= 45, f"{function.name} has {code_lines(function)} lines; split it by idea"


@pytest.mark.parametrize("path", [p for p in CORE if p.name != "__init__.py"], ids=name_of)
def test_public_functions_say_what_they_do(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def tracked_texts() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    endings = {".py", ".md", ".toml", ".txt", ".json", ".js", ".mjs", ".lock", ".yml", ""}
    return [
        ROOT / name for name in listed.stdout.splitlines() if Path(name).suffix in endings and (ROOT / name).exists()
    ]


def test_no_text_names_a_machine_or_a_registry() -> None:
    # Put together from parts, so that this file does not hold what it looks for.
    hosts = ["py" + "pi.org", "python" + "hosted.org", "registry." + "npmjs", "deb." + "debian"]
    paths = ["/" + "work/", "/" + "root/", "/" + "tmp/", "/" + "home/"]
    for path in tracked_texts():
        text = path.read_text(errors="replace")
        for word in [*hosts, *paths]:
            assert word not in text, f"{name_of(path)} holds {word}"


def test_the_pack_imports_without_comfyui_and_loads_nothing_heavy() -> None:
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('pack', {str(ROOT / '__init__.py')!r},"
        f" submodule_search_locations=[{str(ROOT)!r}])\n"
        "pack = importlib.util.module_from_spec(spec); sys.modules['pack'] = pack; spec.loader.exec_module(pack)\n"
        "assert not hasattr(pack, 'NODE_CLASS_MAPPINGS')\n"
        "import pkgutil, pack.vivid_core as core\n"
        "for module in pkgutil.walk_packages(core.__path__, 'pack.vivid_core.'): importlib.import_module(module.name)\n"
        f"print(*sorted(m for m in {sorted(LAZY)!r} if m in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], "imported while vivid_core loads"


def test_installing_the_pack_installs_no_package() -> None:
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    assert list(filter(None, lines)) == [], "pip is run for each line alone: requirements.txt says what that breaks"

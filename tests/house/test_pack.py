"""The pack as a thing that others install: its metadata, its files on Windows, what its pages promise."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tomllib
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMFY = PROJECT["tool"]["comfy"]
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
LONGEST_PATH = 260  # of Windows, with its final zero
USUAL_PLACE = r"C:\Users\some.name\Documents\ComfyUI_windows_portable\ComfyUI\custom_nodes\vivid-video-edit" + "\\"
PLACEHOLDER = "…"


def files() -> list[str]:
    """Every file that git has or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "-z", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def windows_faults(names: list[str]) -> list[str]:
    """What Windows would not take of these paths, with slashes."""
    faults = []
    for name in names:
        for part in name.split("/"):
            if re.search(r'[<>:"\\|?*\x00-\x1f]', part):
                faults.append(f"{name}: a character that Windows refuses")
            if part.endswith((".", " ")):
                faults.append(f"{name}: ends in a dot or a space")
            if part.split(".")[0].lower().rstrip() in RESERVED:
                faults.append(f"{name}: a reserved name")
        if len(USUAL_PLACE + name) >= LONGEST_PATH:
            faults.append(f"{name}: too long")
    places = {"/".join(name.split("/")[:depth]) for name in names for depth in range(1, name.count("/") + 2)}
    folded: dict[str, str] = {}
    for place in sorted(places):
        other = folded.setdefault(place.lower(), place)
        if other != place:
            faults.append(f"{place}: differs from {other} only in case")
    return faults


def test_every_path_can_be_on_windows() -> None:
    names = files()
    assert len(names) > 300
    assert windows_faults(names) == []


@pytest.mark.parametrize(
    "name",
    ["a/con", "a/Aux.py", "com1.txt", "a:b", "what?.md", "a/b.", "a /b", "tab\tbed", "x" * 200],
)
def test_the_windows_check_finds_what_windows_refuses(name: str) -> None:
    assert len(windows_faults([name])) == 1


def test_the_windows_check_finds_names_that_differ_only_in_case() -> None:
    assert windows_faults(["js/Docs/a.md", "js/docs/b.md"]) == ["js/docs: differs from js/Docs only in case"]
    assert windows_faults(["conference.md", "auxiliary/nullable.py"]) == []


def test_the_metadata_keep_the_registrys_rules() -> None:
    project = PROJECT["project"]
    assert re.fullmatch(r"[a-z](?:[a-z0-9]|[-_.](?=[a-z0-9])){1,98}", project["name"])
    assert "comfyui" not in project["name"] and "." not in project["name"], "help pages split the folder's name on dots"
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert (ROOT / project["license"]["file"]).exists()
    assert re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", project["urls"]["Repository"])
    assert {"PublisherId", "DisplayName", "Icon", "requires-comfyui"} <= set(COMFY)
    assert "web" not in COMFY, "WEB_DIRECTORY registers the page's scripts, and both would load them twice"


def test_the_icon_is_a_square_picture_at_the_address_that_is_given() -> None:
    repository = PROJECT["project"]["urls"]["Repository"].removeprefix("https://github.com/")
    start = f"https://raw.githubusercontent.com/{repository}/main/"
    assert COMFY["Icon"].startswith(start)
    with Image.open(ROOT / COMFY["Icon"].removeprefix(start)) as icon:
        assert icon.format == "PNG" and icon.width == icon.height <= 400


def test_the_changelog_says_what_is_in_this_version() -> None:
    versions = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[0] == PROJECT["project"]["version"]
    assert len(set(versions)) == len(versions)


def test_the_publish_action_watches_the_file_with_the_version() -> None:
    text = (ROOT / ".github/workflows/publish.yml").read_text()
    assert re.search(r"paths:\n\s+- pyproject\.toml\n", text)
    assert "uses: Comfy-Org/publish-node-action@" in text and "secrets.REGISTRY_ACCESS_TOKEN" in text


def said(path: Path) -> list[str]:
    """The texts in a source file, with what is filled in as a placeholder."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else PLACEHOLDER for part in node.values)
            found.append("".join(str(part) for part in parts))
    return found


SOURCES = [*(ROOT / "vivid_core").rglob("*.py"), *(ROOT / "nodes").rglob("*.py")]


def troubles() -> list[str]:
    table = README.split("## Troubleshooting", 1)[-1].split("\n## ", 1)[0]
    return re.findall(r"^\| \*(.+?)\* \|", table, flags=re.MULTILINE)


def test_every_sentence_in_the_troubleshooting_is_one_that_the_pack_says() -> None:
    sentences = troubles()
    assert len(sentences) >= 10
    texts = [text for path in SOURCES for text in said(path)]
    for sentence in sentences:
        assert any(sentence.strip(f"{PLACEHOLDER} ") in text for text in texts), sentence


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("name", sorted(path.relative_to(ROOT).as_posix() for path in PAGES))
def test_links_between_the_pages_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / name).read_text()):
        if re.match(r"https?:|mailto:", target):
            continue
        file, _, part = target.replace("%20", " ").partition("#")
        page = (ROOT / name).parent / file if file else ROOT / name
        assert page.exists(), target
        if part:
            titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
            assert part in {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}, target


def test_the_architecture_page_names_every_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {path.parent for path in SOURCES if path.name == "__init__.py"} | {
        path.parent for path in (ROOT / "js").rglob("*.js")
    }
    for room in rooms:
        assert f"{room.name}/" in text, room.relative_to(ROOT)

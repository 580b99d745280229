"""What users read agrees with what the nodes are: help pages, translations, workflows, README.

The schemas are read from the source, so that this needs no ComfyUI.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HELP = ROOT / "js" / "docs"
LOCALES = ROOT / "locales"
LANGUAGES = ("en", "zh")
README = ROOT / "README.md"
SHARED_ENDINGS = ("_input", "_inputs", "_outputs")
SECTIONS = ("When to use it", "Inputs", "Outputs", "How it works", "Tips", "Workflows")
SYNTAX_OF_VUE_I18N = set("{}|@")  # the page compiles translations: a stray brace there is an exception
CHINESE_SECTIONS = ("何时使用", "输入", "输出", "工作原理", "提示", "工作流")
CHINESE_DEFAULTS = {"needed": "必需", "optional": "可选", "empty": "空", "on": "开", "off": "关"}
NO_DEFAULT = object()


@dataclass(frozen=True)
class Socket:
    """An input or output: the id in saved workflows, the name on the node, the tooltip."""

    id: str
    name: str
    tooltip: str | None
    default: Any = NO_DEFAULT
    optional: bool = False


@dataclass(frozen=True)
class Node:
    """What a `define_schema` says."""

    id: str
    display_name: str
    description: str
    inputs: tuple[Socket, ...]
    outputs: tuple[Socket, ...]


def constants_of(tree: ast.Module) -> dict[str, Any]:
    """Module-level names with literal values, such as `ON, OFF = "on", "off"`."""
    found: dict[str, Any] = {}
    for statement in tree.body:
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            continue
        target = statement.targets[0]
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        try:
            value = ast.literal_eval(statement.value)
        except ValueError:
            continue
        values = value if isinstance(target, ast.Tuple) else [value]
        found.update({name.id: entry for name, entry in zip(names, values) if isinstance(name, ast.Name)})
    return found


def literal(node: ast.expr, constants: dict[str, Any]) -> Any:
    return constants[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)


def socket(call: ast.expr, constants: dict[str, Any]) -> Socket:
    assert isinstance(call, ast.Call) and call.args, ast.dump(call)
    words = {word.arg: word.value for word in call.keywords if word.arg}
    name = literal(call.args[0], constants)
    shown = literal(words["display_name"], constants) if "display_name" in words else name
    tooltip = literal(words["tooltip"], constants) if "tooltip" in words else None
    default = literal(words["default"], constants) if "default" in words else NO_DEFAULT
    optional = "optional" in words and literal(words["optional"], constants)
    return Socket(name, shown, tooltip, default, optional)


@dataclass(frozen=True)
class Shared:
    """A function of nodes/ that returns a socket, or a list of them, which several schemas have."""

    returned: list[ast.expr]
    defaults: dict[str, ast.expr]
    constants: dict[str, Any]

    def sockets(self, call: ast.Call, constants: dict[str, Any]) -> tuple[Socket, ...]:
        """What a call returns; where its arguments stand in for literals, these."""
        given = dict(zip(self.defaults, call.args)) | {word.arg: word.value for word in call.keywords if word.arg}
        own = {name: literal(value, self.constants) for name, value in self.defaults.items()}
        own |= {name: literal(value, constants) for name, value in given.items()}
        return sockets_of(self.returned, self.constants | own)


def shared_lists() -> dict[str, Shared]:
    """The functions whose names end like those of shared sockets, by their names."""
    found: dict[str, Shared] = {}
    for path in sorted((ROOT / "nodes").glob("*.py")):
        tree = ast.parse(path.read_text())
        for function in tree.body:
            if not isinstance(function, ast.FunctionDef) or not function.name.endswith(SHARED_ENDINGS):
                continue
            last = function.body[-1]
            if isinstance(last, ast.Return) and isinstance(last.value, (ast.List, ast.Call)):
                entries = last.value.elts if isinstance(last.value, ast.List) else [last.value]
                assert function.name not in found, f"two functions are named {function.name}"
                names, values = (one.arg for one in function.args.args), function.args.defaults
                found[function.name] = Shared(entries, dict(zip(names, values, strict=True)), constants_of(tree))
    return found


def sockets_of(entries: list[ast.expr], constants: dict[str, Any]) -> tuple[Socket, ...]:
    """The sockets of a list's entries: each written there, or returned by a function in `SHARED`."""
    found: list[Socket] = []
    for entry in entries:
        call = entry.value if isinstance(entry, ast.Starred) else entry
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            found += SHARED[call.func.id].sockets(call, constants)
        else:
            found.append(socket(call, constants))
    return tuple(found)


def schemas(path: Path) -> Iterator[Node]:
    tree = ast.parse(path.read_text())
    constants = constants_of(tree)
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "node_schema"):
            continue
        words = {word.arg: word.value for word in call.keywords if word.arg}
        lists = [words[side] for side in ("inputs", "outputs")]
        assert all(isinstance(listed, ast.List) for listed in lists), ast.dump(call)
        sides = [sockets_of(listed.elts, constants) for listed in lists if isinstance(listed, ast.List)]
        texts = [literal(words[name], constants) for name in ("node_id", "display_name", "description")]
        yield Node(*texts, inputs=sides[0], outputs=sides[1])


SHARED = shared_lists()
NODES = tuple(node for path in sorted((ROOT / "nodes").glob("*.py")) for node in schemas(path))
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
each_node = pytest.mark.parametrize("node", NODES, ids=lambda node: node.id)
each_language = pytest.mark.parametrize("language", LANGUAGES)


def help_page(node: Node) -> str:
    path = HELP / f"{node.id}.md"
    assert path.exists(), f"{node.display_name} has no help page js/docs/{node.id}.md"
    return path.read_text()


def section(page: str, title: str) -> str:
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2]))
    assert title in found, f'the section "{title}" is missing'
    return found[title]


def rows(markdown: str) -> dict[str, list[str]]:
    """The rows of a table by what stands in backticks in their first cell."""
    cells = [line.strip().strip("|").split(" | ") for line in markdown.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in cells}


def shown_default(entry: Socket) -> str:
    if entry.default is NO_DEFAULT:
        return "optional" if entry.optional else "needed"
    if isinstance(entry.default, bool):
        return "on" if entry.default else "off"
    return "empty" if entry.default == "" else str(entry.default)


def types_in(workflow: Path) -> set[str]:
    """The node types of a workflow in UI form, those inside its subgraphs too."""
    content = json.loads(workflow.read_text())
    graphs = [content, *(content.get("definitions") or {}).get("subgraphs", [])]
    return {node["type"] for graph in graphs for node in graph["nodes"]}


def test_the_schemas_are_found() -> None:
    assert len(NODES) >= 10
    assert all(node.id.startswith("Vivid") for node in NODES)


@each_node
def test_a_help_page_has_all_its_sections(node: Node) -> None:
    page = help_page(node)
    for title in SECTIONS:
        assert section(page, title).strip(), title
    assert not re.search(r"<\s*(script|iframe|style)", page, re.IGNORECASE)


@each_node
def test_a_help_page_explains_every_input_with_its_default(node: Node) -> None:
    table = rows(section(help_page(node), "Inputs"))
    assert list(table) == [entry.id for entry in node.inputs]
    for entry in node.inputs:
        default, meaning = table[entry.id]
        assert default.strip("`") == shown_default(entry), entry.id
        assert len(meaning) >= 9, entry.id


@each_node
def test_a_help_page_explains_every_output(node: Node) -> None:
    table = rows(section(help_page(node), "Outputs"))
    assert list(table) == [entry.name for entry in node.outputs]
    assert all(len(meaning) > 15 for (meaning,) in table.values())


@each_node
def test_a_help_page_lists_the_workflows_that_use_its_node(node: Node) -> None:
    listed = re.findall(r"^- (.+)$", section(help_page(node), "Workflows"), flags=re.MULTILINE)
    assert sorted(listed) == [path.stem for path in WORKFLOWS if node.id in types_in(path)]


def chinese_page(node: Node) -> str:
    """Where ComfyUI's page looks first for the language zh; without it readers get the English page."""
    path = HELP / node.id / "zh.md"
    assert path.exists(), f"{node.display_name} has no Chinese help page js/docs/{node.id}/zh.md"
    return path.read_text(encoding="utf-8")


def chinese_default(entry: Socket) -> str:
    shown = shown_default(entry)
    names_an_option = isinstance(entry.default, str) and bool(entry.default)
    return shown if names_an_option else CHINESE_DEFAULTS.get(shown, shown)


def links(page: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", page)


@each_node
def test_a_chinese_help_page_has_the_sections_of_the_english_one(node: Node) -> None:
    english, chinese = help_page(node), chinese_page(node)
    for title in CHINESE_SECTIONS:
        assert section(chinese, title).strip(), title
    levels = [re.findall(r"^#+(?= )", page, flags=re.MULTILINE) for page in (english, chinese)]
    assert levels[0] == levels[1]
    assert not re.search(r"<\s*(script|iframe|style)", chinese, re.IGNORECASE)


@each_node
def test_a_chinese_help_page_explains_the_same_inputs_and_outputs(node: Node) -> None:
    english, chinese = help_page(node), chinese_page(node)
    for title, translated_title in (("Inputs", "输入"), ("Outputs", "输出")):
        table = rows(section(chinese, translated_title))
        assert list(table) == list(rows(section(english, title)))
        assert all(re.search("[\u4e00-\u9fff]", cells[-1]) for cells in table.values())
    defaults = [cells[0].strip("`") for cells in rows(section(chinese, "输入")).values()]
    assert defaults == [chinese_default(entry) for entry in node.inputs]


@each_node
def test_a_chinese_help_page_has_the_links_and_workflows_of_the_english_one(node: Node) -> None:
    english, chinese = help_page(node), chinese_page(node)
    assert links(chinese) == links(english)
    assert section(chinese, "工作流").strip() == section(english, "Workflows").strip()


def test_no_help_page_is_left_over() -> None:
    assert {path.stem for path in HELP.glob("*.md")} == {node.id for node in NODES}
    assert {path.parent.name for path in HELP.glob("*/*.md")} == {node.id for node in NODES}
    assert {path.stem for path in HELP.glob("*/*.md")} == {"zh"}


def translated(language: str) -> dict[str, Any]:
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


@each_language
def test_a_translation_covers_every_text_and_nothing_else(language: str) -> None:
    content = translated(language)
    assert set(content) == {node.id for node in NODES}
    for node in NODES:
        entry = content[node.id]
        assert list(entry) == ["display_name", "description", "inputs", "outputs"], node.id
        assert list(entry["inputs"]) == [one.id for one in node.inputs], node.id
        assert list(entry["outputs"]) == [str(index) for index in range(len(node.outputs))], node.id
        sockets = [*zip(entry["inputs"].values(), node.inputs), *zip(entry["outputs"].values(), node.outputs)]
        for texts, one in sockets:
            assert list(texts) == (["name", "tooltip"] if one.tooltip else ["name"]), f"{node.id}.{one.id}"


def strings(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for value in content.values():
            yield from strings(value)
    else:
        yield content


@pytest.mark.parametrize("path", sorted(LOCALES.glob("*/*.json")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_translation_is_text_that_the_page_can_compile(path: Path) -> None:
    for text in strings(json.loads(path.read_text(encoding="utf-8"))):
        assert text.strip() == text and text, path
        assert not SYNTAX_OF_VUE_I18N & set(text), f"vue-i18n reads a character of this as syntax: {text}"


def test_the_english_texts_are_those_of_the_schemas() -> None:
    content = translated("en")
    for node in NODES:
        entry = content[node.id]
        assert (entry["display_name"], entry["description"]) == (node.display_name, node.description)
        sockets = [*zip(entry["inputs"].values(), node.inputs), *zip(entry["outputs"].values(), node.outputs)]
        for texts, one in sockets:
            assert texts["name"] == one.name
            assert texts.get("tooltip") == one.tooltip, f"{node.id}.{one.id}"


def test_languages_translate_the_same_things() -> None:
    names = {language: {path.name for path in (LOCALES / language).iterdir()} for language in LANGUAGES}
    assert len(set(map(frozenset, names.values()))) == 1, names
    assert {path.name for path in LOCALES.iterdir()} == set(LANGUAGES)


@each_node
def test_every_node_is_used_by_a_workflow(node: Node) -> None:
    assert any(node.id in types_in(path) for path in WORKFLOWS)


def test_there_are_workflows() -> None:
    assert len(WORKFLOWS) >= 3


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_its_thumbnail_and_its_api_form(path: Path) -> None:
    assert path.with_suffix(".jpg").exists(), "the template browser shows a same-name .jpg"
    api_form = json.loads((path.parent / "api" / path.name).read_text())
    used = {node["class_type"] for node in api_form.values()}
    ours = {name for name in types_in(path) if name.startswith("Vivid")}
    assert ours == {name for name in used if name.startswith("Vivid")}
    assert ours <= {node.id for node in NODES}


def test_no_thumbnail_or_api_form_is_left_over() -> None:
    names = {path.stem for path in WORKFLOWS}
    folder = ROOT / "workflows"
    assert {path.stem for path in [*folder.glob("*.jpg"), *folder.glob("api/*.json")]} == names


def test_the_readme_begins_with_the_two_commands() -> None:
    first = re.search(r"^```\w*\n(.*?)^```", README.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert first, "the README shows no command"
    commands = [line.split("#")[0].strip() for line in first[1].splitlines()]
    assert commands == ["make demo", "make test"]


def test_the_readme_names_every_node_and_workflow() -> None:
    text = README.read_text()
    for name in [*(node.display_name for node in NODES), *(path.stem for path in WORKFLOWS)]:
        assert name in text, name


@pytest.mark.parametrize("path", [README, *sorted(HELP.glob("*.md"))], ids=lambda path: path.name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if not re.match(r"(https?:|mailto:|#)", target):
            file = target.split("#")[0].replace("%20", " ")
            assert (path.parent / file).exists(), f"{target} is not there"

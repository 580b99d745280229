"""What each benchmark says of itself, read without importing it: its `ABOUT`, and which variants it has."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CPU, CUDA = "cpu", "cuda"
VARIANTS = {CPU: "run", CUDA: "run_cuda"}  # the functions that measure them
FIELDS = ("measures", "peer", "instead", "goal")


@dataclass(frozen=True)
class About:
    """`measures` says what, `peer` against what, `instead` what a user would pick instead, `goal` is in words.

    `computed` figures come from a formula; without `timed` no clock is read, and others may run at the same time.
    `variants` are what it can run on; `not_on_cuda` says why not there.
    """

    name: str
    measures: str
    peer: str
    instead: str
    goal: str
    computed: bool
    timed: bool
    variants: tuple[str, ...]
    not_on_cuda: str


def abouts(folder: Path = HERE) -> dict[str, About]:
    """All benchmarks of a folder by name: the modules that define a variant.

    Raises ValueError when one doesn't say what it is.
    """
    found = {}
    for path in sorted(folder.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        variants = tuple(variant for variant, function in VARIANTS.items() if function in functions)
        if variants:
            found[path.stem] = _about(path.stem, tree, variants)
    return found


def _about(name: str, tree: ast.Module, variants: tuple[str, ...]) -> About:
    told: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and [getattr(one, "id", "") for one in node.targets] == ["ABOUT"]:
            told = ast.literal_eval(node.value)
    texts = {field: str(told.get(field, "")) for field in FIELDS}
    not_on_cuda = str(told.get("not_on_cuda", ""))
    missing = [field for field, text in texts.items() if not text]
    if missing or (CUDA in variants) == bool(not_on_cuda):
        lacks = ", ".join(missing) or f"either {VARIANTS[CUDA]} or a reason in not_on_cuda"
        raise ValueError(f"The benchmark {name} lacks in its ABOUT: {lacks}.")
    flags = {"computed": bool(told.get("computed", False)), "timed": bool(told.get("timed", True))}
    return About(name, **texts, **flags, variants=variants, not_on_cuda=not_on_cuda)

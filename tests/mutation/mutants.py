"""Small changes of a source file that a good test notices: one changed place each."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Pow: ast.Mult,
}  # fmt: skip
SHOWN = 100  # characters of a place in a report


@dataclass(frozen=True)
class Mutant:
    """One changed place: `number` counts the places of a file; `source` is the whole changed file."""

    path: str
    number: int
    line: int
    kind: str
    before: str
    after: str
    source: str

    @property
    def key(self) -> str:
        """The same for the same change of the same file."""
        return hashlib.sha256(f"{self.path}\n{self.source}".encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.path}:{self.line} ({self.kind})  {self.before}  ->  {self.after}"


Change = tuple[str, Callable[[ast.AST], ast.AST | None]]  # its kind, and what it makes of a node; None: nothing is left


def mutants_of(path: Path, name: str) -> list[Mutant]:
    """All mutants of a file, in the order of its places. Texts, messages of errors and annotations stay."""
    text = path.read_text()
    made = (mutant_of(text, name, number) for number in range(count_of(text)))
    return [mutant for mutant in made if mutant is not None]


def count_of(text: str) -> int:
    """How many changes of a source there are."""
    return sum(1 for _ in _places(ast.parse(text)))


def mutant_of(text: str, name: str, number: int) -> Mutant | None:
    """The source with one of its changes made; None where that says the same in other words."""
    tree = ast.parse(text)
    whole = ast.unparse(tree)
    place, (kind, change) = next(islice(_places(tree), number, None))
    before, line = ast.unparse(place), getattr(place, "lineno", 0)
    new = change(place)
    source = ast.unparse(ast.fix_missing_locations(_Replace(place, new).visit(tree)))
    after = "nothing" if new is None else ast.unparse(new)
    shown = before.split("\n")[0][:SHOWN], after.split("\n")[0][:SHOWN]
    return None if source == whole else Mutant(name, number, line, kind, *shown, source)


def sampled(root: Path, paths: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """`count` mutants of these files at random, the same for the same seed; a smaller sample begins a larger one.

    The order is drawn for each place by itself, so a change of one file moves nothing in the others.
    """
    texts = {path: (root / path).read_text() for path in paths}
    every = [(path, number) for path, text in texts.items() for number in range(count_of(text))]
    every.sort(key=lambda place: hashlib.sha256(f"{seed} {place}".encode()).digest())
    made = (mutant_of(texts[path], path, number) for path, number in every)
    return list(islice((mutant for mutant in made if mutant is not None), count))


def _places(tree: ast.AST) -> Iterator[tuple[ast.AST, Change]]:
    for node in _code(tree):
        for change in _changes(node):
            yield node, change


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below that says what is computed, parents first."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list") or isinstance(node, (ast.Raise, ast.JoinedStr)):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_text(child):
                yield child
                yield from _code(child)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _changes(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        for index in range(len(node.ops)):
            yield "comparison", lambda own, index=index: _with_operator(own, index)
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in ARITHMETIC:
        yield "arithmetic", lambda own: _with(own, op=ARITHMETIC[type(own.op)]())
    elif isinstance(node, ast.BoolOp):
        yield "condition", lambda own: _with(own, op=ast.Or() if isinstance(own.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield "sign", lambda own: own.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        yield "constant", lambda own: ast.Constant(_other(own.value))
    if isinstance(node, (ast.If, ast.While, ast.IfExp)) and not isinstance(node.test, ast.Compare):
        yield "negation", lambda own: _with(own, test=ast.UnaryOp(ast.Not(), own.test))
    if isinstance(node, (ast.AugAssign, ast.Raise, ast.Continue, ast.Break)) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield "removal", lambda own: None


def _other(value: bool | int | float) -> bool | int | float:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 1.5 + 0.1


def _with(node: ast.AST, **changes: object) -> ast.AST:
    for name, value in changes.items():
        setattr(node, name, value)
    return node


def _with_operator(node: ast.AST, index: int) -> ast.AST:
    assert isinstance(node, ast.Compare)
    node.ops[index] = COMPARISONS[type(node.ops[index])]()
    return node


class _Replace(ast.NodeTransformer):
    """Puts one node in the place of another; `pass` where a statement goes."""

    def __init__(self, target: ast.AST, new: ast.AST | None) -> None:
        self.target, self.new = target, new

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self.target:
            return ast.Pass() if self.new is None else self.new
        return self.generic_visit(node)

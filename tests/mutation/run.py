"""Flip every comparison and boundary of the modules that decide: some test must fail each time.

``python tests/mutation/run.py [module ...]`` prints each mutant that survives and ends with 1 if any did
that ``EQUIVALENT`` does not argue away. Each mutant runs in a fork with everything heavy imported.
"""

from __future__ import annotations

import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "scheduler/tritium/assign"
LIMIT_S = 30
OPTIONS = (
    "-x",
    f"--timeout={LIMIT_S}",
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:cov",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
BROKEN = 2
"""pytest's exit code for modules that do not even import; higher ones are not about the mutant."""
PASSED, FAILED = "survived", "caught"

_NO_CPUS = "a device of no known NUMA node has no CPUs to name, so its number is never looked at"
_BUDGET = "how long a slow search goes on, not what it finds"
_NODE = '(-1, "") if d.numa_node is None else (d.numa_node, host.cpus.get(d.numa_node, ""))'
EQUIVALENT: dict[str, str] = {
    f"index: {_NODE}: -1  ->  1": _NO_CPUS,
    f"index: {_NODE}: 1  ->  2": _NO_CPUS,
    "links: link = links.get((one.uuid, two.uuid) if one.uuid < two.uuid else (two.uuid, one.uuid)): "
    "one.uuid < two.uuid  ->  one.uuid <= two.uuid": "no device is linked to itself",
    "rooms: return request.members // request.group if None in shape.seats else 0: "
    "request.members // request.group  ->  request.members": "room without end, of which no more is taken",
    "rooms: return 0: 0  ->  1": "every host is alike to ranks without devices",
    "rooms: return 2: 2  ->  3": "only the order of the three is used",
    "ring: steps = 0: 0  ->  1": _BUDGET,
    "ring: while paths and steps < _STEPS:: steps < _STEPS  ->  steps <= _STEPS": _BUDGET,
    "ring: steps += 1: 1  ->  2": _BUDGET,
    "layout: Quota(part & usable, 1, seats * each): 1  ->  2": "an exact number has no use for a step",
}
"""Mutants that change nothing one could see, by module, line and change, and why that is so."""


def is_table(node: ast.AST) -> bool:
    """Whether a node decides nothing: a module's constants, the sizes of its caches, what it exports."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return node.col_offset == 0
    return isinstance(node, ast.keyword) and node.arg == "maxsize"


COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
SWAPS = {"min": "max", "max": "min", "all": "any", "any": "all"}


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node could be by mistake."""
    match node:
        case ast.Compare(ops=[op]):
            for other in COMPARISONS[type(op)]:
                changed = copy.deepcopy(node)
                changed.ops = [other()]
                yield changed
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(op=ast.Or() if isinstance(op, ast.And) else ast.And(), values=values)
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            yield operand
        case ast.Call(func=ast.Name(id=name)) if name in SWAPS:
            changed_call = copy.deepcopy(node)
            changed_call.func = ast.Name(id=SWAPS[name], ctx=ast.Load())
            yield changed_call
        case ast.BinOp(op=ast.FloorDiv() | ast.Mod(), left=left):
            yield left
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            yield ast.Constant(value=value + 1)


class Once(ast.NodeTransformer):
    """Replace the ``number``-th place by its ``choice``-th change."""

    def __init__(self, number: int, choice: int) -> None:
        self.number, self.choice, self.seen = number, choice, -1
        self.before = self.after = ""
        self.line = 0

    def visit(self, node: ast.AST) -> ast.AST:
        if is_table(node):
            return node
        self.seen += 1
        if self.seen != self.number:
            return self.generic_visit(node)
        changed = list(changes(node))[self.choice]
        self.before, self.after = ast.unparse(node), ast.unparse(changed)
        self.line = getattr(node, "lineno", 0)
        return ast.copy_location(changed, node)


def mutants(source: str) -> Iterator[tuple[str, int, ast.Module]]:
    """Yield ``(text, line, tree)`` of every mutant of a module."""
    places = [list(changes(node)) for node in _walk(ast.parse(source))]
    for number, found in enumerate(places):
        for choice in range(len(found)):
            once = Once(number, choice)
            tree = once.visit(ast.parse(source))
            assert isinstance(tree, ast.Module)
            yield f"{once.before}  ->  {once.after}", once.line, ast.fix_missing_locations(tree)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Visit in the order of ``NodeTransformer``."""
    if is_table(node):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import one module from a changed tree."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name, self.path, self.tree = name, path, tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)  # noqa: S102  # that is the point


def outcome(name: str, path: Path, tree: ast.Module) -> str:
    """Run the tests against one mutant in a fork."""
    pid = os.fork()
    if pid == 0:
        with Path(os.devnull).open("w", encoding="utf-8") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        sys.meta_path.insert(0, Mutated(name, path, tree))
        import pytest

        tests = sorted(map(str, (ROOT / "tests/assign").glob("test_*.py")), key=_slow_last)
        os._exit(int(pytest.main([*OPTIONS, *tests])))
    _, status = os.waitpid(pid, 0)
    code = os.WEXITSTATUS(status)
    if code > BROKEN:
        raise RuntimeError(f"pytest ended with {code}")
    return FAILED if code else PASSED


def _slow_last(test: str) -> tuple[bool, str]:
    return ("laws" in test or "ledger" in test, test)


def main(names: Sequence[str]) -> int:
    """Mutate the named modules, or all that decide."""
    import hypothesis
    import numpy as np  # noqa: F401
    import pytest  # noqa: F401

    import tritium_discovery.device  # noqa: F401

    os.chdir(ROOT)
    hypothesis.settings.register_profile("mutation", database=None, derandomize=True)
    hypothesis.settings.load_profile("mutation")
    survivors, total, start = 0, 0, time.monotonic()
    paths = sorted(PACKAGE.glob("*.py"))
    for path in paths:
        if path.stem == "__init__" or (names and path.stem not in names):
            continue
        source = path.read_text(encoding="utf-8")
        for text, line, tree in mutants(source):
            if total == 0 and outcome("nothing", path, tree) != PASSED:
                raise RuntimeError("the tests fail without any mutant")
            total += 1
            result = outcome(f"tritium.assign.{path.stem}", path, tree)
            if result == PASSED:
                why = EQUIVALENT.get(f"{path.stem}: {source.splitlines()[line - 1].strip()}: {text}")
                survivors += why is None
                print(f"{path.stem}.py:{line}: {text}   {why or 'SURVIVED'}", flush=True)
    print(f"{total} mutants, {survivors} unexplained survivors, {time.monotonic() - start:.0f} s")
    return int(survivors > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Flip every comparison and boundary of the modules that decide: some test must fail each time.

``python tests/mutation/run.py [module ...]`` prints each mutant that survives and ends with 1 if any did
that ``EQUIVALENT`` does not argue away.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "scheduler/tritium/assign"
OPTIONS = ("-qq", "-s", "--timeout=120", "-p", "no:cacheprovider", "-p", "no:cov")
"""A mutant may loop forever; but the machine may be busy."""

_UNKNOWN = "no node has a negative number, and what stands for none is only compared"
_BUDGET = "how long a slow search goes on, not what it finds"
_NODE = "tuple((-1 if device.numa_node is None else device.numa_node, device.cpus) for device in devices),"
_NEEDLESS = "who turns out not to be needed is left out"
_EXACT = "an exact number has no use for a step"
EQUIVALENT: dict[str, str] = {
    "deal: weights = [1, *(0 for _ in weights[1:])]: 1  ->  2": "it is the only one with a weight",
    "decide: for kept in range(len(request.prefer), -1, -1):: 1  ->  2": "the same is asked once more",
    "layout: quotas = tuple(Quota(part, 1, seats) for part, seats in seated): 1  ->  2": _EXACT,
    "layout: best = best_set(near, members, quotas) or 0: 0  ->  1": "the members fit, so there is a set",
    f"index: {_NODE}: -1  ->  1": _UNKNOWN,
    f"index: {_NODE}: 1  ->  2": _UNKNOWN,
    "links: link = links.get((one.uuid, two.uuid) if one.uuid < two.uuid else (two.uuid, one.uuid)): "
    "one.uuid < two.uuid  ->  one.uuid <= two.uuid": "no device is linked to itself",
    "rooms: return request.members // form.group if None in shape.seats else 0: "
    "request.members // form.group  ->  request.members": "room without end, of which no more is taken",
    "rooms: return 0: 0  ->  1": "every host is alike to ranks without devices",
    "rooms: return 2: 2  ->  3": "only the order of the three is used",
    "queue: for _ in range(1, ORDERS):: 1  ->  2": _BUDGET,
    "ring: steps = 0: 0  ->  1": _BUDGET,
    "ring: best = best_set(_between(costs, devices), size) or 0: 0  ->  1": "they divide, so there is a set",
    "subset: return int(sets[np.argmin((price[sets] << 32) + price[sets ^ (len(counts) - 1)])]): "
    "32  ->  33": "no price is as large as either",
    "subset: taken, price = [first], 0: 0  ->  1": "all sets begin with it",
    "ring: while paths and steps < _STEPS:: steps < _STEPS  ->  steps <= _STEPS": _BUDGET,
    "ring: steps += 1: 1  ->  2": _BUDGET,
    "waits: return 0: 0  ->  1": _NEEDLESS,
    "waits: return max(0, request.members * request.devices_each - free): 0  ->  1": _NEEDLESS,
    'layout: if form.group > 1 or form.near != "host" or not members <= sum(full) <= EXACT:: '
    "members <= sum(full) <= EXACT  ->  members < sum(full) <= EXACT": "all of a host are the best of it",
    "layout: Quota(part & usable, 1, seats * each): 1  ->  2": _EXACT,
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
        case ast.Compare(ops=ops):
            for at, op in enumerate(ops):
                for other in COMPARISONS[type(op)]:
                    changed = copy.deepcopy(node)
                    changed.ops[at] = other()
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


def functions(module: ModuleType) -> list[FunctionType]:
    """Return the functions and methods that a module defines, in order."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    inside = [part for value in own if isinstance(value, type) for part in vars(value).values()]
    bare = (getattr(value, "__wrapped__", getattr(value, "__func__", value)) for value in (*own, *inside))
    return [value for value in bare if isinstance(value, FunctionType)]


def become(module: ModuleType, tree: ast.Module) -> None:
    """Put a mutant's code into a module's functions, so that whoever has imported them has the mutant."""
    mutant = ModuleType(f"{module.__name__}_mutant")
    sys.modules[mutant.__name__] = mutant
    exec(compile(tree, str(module.__file__), "exec"), mutant.__dict__)  # noqa: S102  that is the point
    for old, new in zip(functions(module), functions(mutant), strict=True):
        old.__code__, old.__defaults__, old.__kwdefaults__ = (
            new.__code__,
            new.__defaults__,
            new.__kwdefaults__,
        )


class Mutation:
    """A pytest plugin: the tests are collected once, and run in a fork for each mutant until one fails."""

    def __init__(self, names: Sequence[str]) -> None:
        paths = sorted(path for path in PACKAGE.glob("*.py") if path.stem != "__init__")
        self.paths = [path for path in paths if not names or path.stem in names]
        self.failed = False
        self.total = self.survivors = 0

    def pytest_configure(self) -> None:
        """Make every run draw the same examples."""
        import hypothesis

        hypothesis.settings.register_profile("mutation", database=None, derandomize=True)
        hypothesis.settings.load_profile("mutation")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed |= report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if self._caught(session.items):
            raise RuntimeError("the tests fail without any mutant")
        for path in self.paths:
            source = path.read_text(encoding="utf-8")
            module = importlib.import_module(f"tritium.assign.{path.stem}")
            items = sorted(session.items, key=partial(_late, module.__name__))
            for text, line, tree in mutants(source):
                self.total += 1
                if not self._caught(items, partial(become, module, tree)):
                    key = f"{path.stem}: {source.splitlines()[line - 1].strip()}: {text}"
                    why = EQUIVALENT.get(key)
                    self.survivors += why is None
                    print(f"{path.stem}.py:{line}: {text}   {why or 'SURVIVED'}", flush=True)
            print(f"{path.stem}: {self.total} mutants so far", flush=True)
        return True

    def _caught(self, items: Sequence[pytest.Item], change: Callable[[], None] = lambda: None) -> bool:
        pid = os.fork()
        if pid == 0:
            with Path(os.devnull).open("w", encoding="utf-8") as nothing:
                os.dup2(nothing.fileno(), 1)
                os.dup2(nothing.fileno(), 2)
            with contextlib.suppress(BaseException):
                change()
                for item, following in zip(items, [*items[1:], None], strict=True):
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                    if self.failed:
                        break
                else:
                    os._exit(0)
            os._exit(1)
        return os.waitpid(pid, 0)[1] != 0


def _late(name: str, item: pytest.Item) -> tuple[bool, bool]:
    """Sort tests so that most mutants are caught soon: those of the module first, the slow ones last."""
    slow = any(word in item.nodeid for word in ("laws", "ledger", "[packed]", "[spread]"))
    return slow, name not in item.path.read_text(encoding="utf-8")


def main(names: Sequence[str]) -> int:
    """Mutate the named modules, or all that decide."""
    os.chdir(ROOT)
    start, mutation = time.monotonic(), Mutation(names)
    code = pytest.main([*OPTIONS, "tests/assign"], plugins=[mutation])
    took = time.monotonic() - start
    print(f"{mutation.total} mutants, {mutation.survivors} unexplained survivors, {took:.0f} s")
    return int(code not in (0, pytest.ExitCode.NO_TESTS_COLLECTED) or mutation.survivors > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Hand the gang's held socket to torch's store, so that no port is ever guessed, and keep that store.

torch opens the store's port itself, even where another process holds it on its behalf, and only
``TCPStore(master_listen_fd=...)`` takes an open socket. So that a user's plain
``init_process_group("gloo")`` gets it too, the rendezvous module's own ``TCPStore`` is wrapped as soon as
it is imported.

torch would end that store with the group, and open the port again for the next group of the same process.
A rank that is there before rank 0 has left the last group would then meet the old store, read where rank 0
was, and wait for it there for half an hour. So rank 0 keeps the store, as the agent of torchrun does, and
each group has keys of its own in it.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections import Counter
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["watch_store"]

_MODULE = "torch.distributed.rendezvous"


def watch_store(port: int, *, listener: int | None, met: Callable[[], None]) -> None:
    """Look at torch's stores on ``port``: the first takes the listening socket of rank 0, if this is rank 0.

    ``met`` is called once that one is there, which is when every rank is.
    """
    if (loaded := sys.modules.get(_MODULE)) is not None:
        _wrap(loaded, port, listener, met)
        return
    sys.meta_path.insert(0, _Finder(lambda module: _wrap(module, port, listener, met)))


def _wrap(module: ModuleType, port: int, listener: int | None, met: Callable[[], None]) -> None:
    plain: Callable[..., Any] = module.__dict__["TCPStore"]
    listeners = [listener] if listener is not None else []
    kept: list[Any] = []
    groups: Counter[int] = Counter()

    def store(**options: Any) -> Any:
        if options["port"] != port:
            return plain(**options)
        from torch.distributed.distributed_c10d import PrefixStore

        made = plain(**options, **({"master_listen_fd": listeners.pop()} if listeners else {}))
        if not kept:
            kept.append(made)
            met()
        # By size: a rank may have been in groups of fewer ranks, which the others know nothing of.
        groups[size := options["world_size"]] += 1
        return PrefixStore(f"{size}.{groups[size]}", made)

    module.__dict__["TCPStore"] = store


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Runs a function on one module right after its import, then is out of the way."""

    def __init__(self, then: Callable[[ModuleType], None]) -> None:
        self._then = then
        self._spec: ModuleSpec | None = None

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Find torch's rendezvous module, once; leave all others to the finders that follow."""
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        self._spec = importlib.util.find_spec(name)
        if self._spec is None or self._spec.loader is None:
            return None
        return importlib.util.spec_from_loader(name, self, origin=self._spec.origin)

    def create_module(self, _spec: ModuleSpec) -> None:
        """Let Python make the module as usual."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's own code, then ours on it."""
        if self._spec is not None and self._spec.loader is not None:
            module.__file__ = self._spec.origin
            self._spec.loader.exec_module(module)
            self._then(module)

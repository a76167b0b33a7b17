"""Hand the gang's held socket to torch's store, so that no port is ever guessed.

torch opens the store's port itself, even where another process holds it on its behalf, and only
``TCPStore(master_listen_fd=...)`` takes an open socket. So that a user's plain
``init_process_group("gloo")`` gets it too, the rendezvous module's own ``TCPStore`` is wrapped as soon as
it is imported; a second init in the same process opens the then free port in the ordinary way.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["watch_store"]

_MODULE = "torch.distributed.rendezvous"


def watch_store(port: int, *, listener: int | None, met: Callable[[], None]) -> None:
    """Look at torch's first store on ``port``: it takes the listening socket of rank 0, if this is rank 0.

    ``met`` is called once the store is there, which is when every rank is.
    """
    if (loaded := sys.modules.get(_MODULE)) is not None:
        _wrap(loaded, port, listener, met)
        return
    sys.meta_path.insert(0, _Finder(lambda module: _wrap(module, port, listener, met)))


def _wrap(module: ModuleType, port: int, listener: int | None, met: Callable[[], None]) -> None:
    plain: Callable[..., Any] = module.__dict__["TCPStore"]
    first = [{"master_listen_fd": listener} if listener is not None else {}]

    def store(**options: Any) -> Any:
        if not first or options["port"] != port:
            return plain(**options)
        made = plain(**options, **first.pop())
        met()
        return made

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

"""Edge to the disk: the folder into which one attempt of a gang puts its files."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tritium.errors import CannotPublish

__all__ = ["own_output"]


@contextmanager
def own_output(output: Path | None) -> Iterator[Path | None]:
    """Give an attempt an output folder of its own, whose files move to the gang's when it succeeds.

    A rank of an attempt that was given up may live, and write, a moment longer than it.

    Raises:
        CannotPublish: the folder cannot be made, or its files cannot be moved; then they stay in it.
    """
    if output is None:
        yield None
        return
    own = output / f".attempt-{secrets.token_hex(4)}"
    try:
        own.mkdir(parents=True)
    except OSError as err:
        raise CannotPublish(f"there can be no output in {output}: {err}") from err
    try:
        yield own
    except BaseException:
        shutil.rmtree(own, ignore_errors=True)
        raise
    try:
        for path in own.iterdir():
            _replace(path, output / path.name)
        own.rmdir()
    except OSError as err:
        raise CannotPublish(f"the output stays in {own}, it cannot be moved to {output}: {err}") from err


def _replace(path: Path, target: Path) -> None:
    """Move a file or a folder to where an earlier gang may have left one."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    path.rename(target)

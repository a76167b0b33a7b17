"""Laws of the store: an object is what its name says, and a pointer never points to half of one."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritium.errors import CannotPublish
from tritium.store.disk import LocalDisk
from tritium.store.objects import ObjectId, Store, hash_of

NAMES = st.sampled_from(["model.pt", "metrics.json", "deep/weights.bin", "deep/er/vocab.txt"])
TREES = st.dictionaries(NAMES, st.binary(max_size=8), min_size=1)


def plant(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@settings(deadline=None)  # it writes to the disk
@given(files=TREES)
def test_what_was_put_can_be_read_and_putting_it_again_changes_nothing(files: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder, "store"), disk=LocalDisk())
        tree = plant(Path(folder, "tree"), files)

        first, second = store.put(tree), store.put(tree)

        assert first == second
        assert store.whole(first)
        assert read(store.path(first)) == files == read(tree)


@settings(deadline=None)  # it writes to the disk
@given(one=TREES, two=TREES)
def test_two_trees_have_one_name_exactly_if_they_are_equal(
    one: Mapping[str, bytes], two: Mapping[str, bytes]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        names = {hash_of(plant(Path(folder, "one"), one)), hash_of(plant(Path(folder, "two"), two))}

    assert (len(names) == 1) == (one == two)


def test_a_damaged_object_is_not_whole_and_is_healed_by_putting_it_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", disk=LocalDisk())
    tree = plant(tmp_path / "tree", {"model.pt": b"weights"})
    name = store.put(tree)

    (store.path(name) / "model.pt").write_bytes(b"wei")

    assert not store.whole(name)
    assert store.put(tree) == name
    assert store.whole(name)


def test_who_puts_what_somebody_else_is_just_publishing_has_put_it_too(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"model.pt": b"weights"})
    other = Store(tmp_path / "store", disk=LocalDisk())

    class Overtaken(LocalDisk):
        def move(self, tree: Path, target: Path) -> None:
            other.put(tmp_path / "tree")
            super().move(tree, target)

    name = Store(tmp_path / "store", disk=Overtaken()).put(tree)

    assert other.whole(name)
    assert not any((tmp_path / "store" / "incoming").iterdir())


def test_what_somebody_else_published_is_never_removed_for_a_moment(tmp_path: Path) -> None:
    """The second looked before the first published, and dies before it publishes itself."""
    tree = plant(tmp_path / "tree", {"model.pt": b"weights"})
    first = Store(tmp_path / "store", disk=LocalDisk())

    class Overtaken(Store):
        def whole(self, name: ObjectId) -> bool:
            found = super().whole(name)
            first.point("model", first.put(tree), expected=None)
            return found

    class Dying(LocalDisk):
        def move(self, tree: Path, target: Path) -> None:
            raise OSError(28, f"No space left on device for {tree}", str(target))

    with pytest.raises(CannotPublish, match="No space left"):
        Overtaken(tmp_path / "store", disk=Dying()).put(tree)

    name = first.target("model")
    assert name is not None
    assert first.whole(name)


def test_links_to_files_become_files(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", disk=LocalDisk())
    tree = plant(tmp_path / "tree", {"model.pt": b"weights"})
    (tree / "latest.pt").symlink_to("model.pt")

    name = store.put(tree)

    assert read(store.path(name)) == {"model.pt": b"weights", "latest.pt": b"weights"}
    assert not (store.path(name) / "latest.pt").is_symlink()


def test_a_pointer_moves_only_from_where_it_was_expected(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", disk=LocalDisk())
    one = store.put(plant(tmp_path / "one", {"a": b"1"}))
    two = store.put(plant(tmp_path / "two", {"a": b"2"}))

    store.point("model", one, expected=None)
    with pytest.raises(CannotPublish, match="was moved by somebody else"):
        store.point("model", two, expected=None)
    assert store.target("model") == one
    store.point("model", two, expected=one)
    assert store.target("model") == two


def test_a_pointer_never_points_to_an_object_that_is_not_whole(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", disk=LocalDisk())

    with pytest.raises(CannotPublish, match="is not whole"):
        store.point("model", ObjectId("0" * 64), expected=None)

    assert store.target("model") is None


def test_a_tree_that_cannot_be_copied_is_a_sentence(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", disk=LocalDisk())

    with pytest.raises(CannotPublish, match="cannot be put into the store"):
        store.put(tmp_path / "absent")

    assert not any((tmp_path / "store").rglob("*.pt"))


def test_what_is_being_put_is_never_swept_and_what_a_dead_process_left_is_as_soon_as_nobody_puts(
    tmp_path: Path,
) -> None:
    tree, root = plant(tmp_path / "tree", {"model.pt": b"weights"}), tmp_path / "store"
    other = Store(root, disk=LocalDisk())

    class Swept(LocalDisk):
        def move(self, tree: Path, target: Path) -> None:
            other.sweep()
            super().move(tree, target)

    with subprocess.Popen(
        [sys.executable, "-c", _STANDS, str(root), str(tree)], stdout=subprocess.PIPE
    ) as stands:
        try:
            assert stands.stdout is not None
            assert stands.stdout.readline() == b"copied\n"
            other.sweep()
            (left,) = (root / "incoming").iterdir()
            assert read(left) == {"model.pt": b"weights"}
        finally:
            stands.kill()
    name = Store(root, disk=Swept()).put(tree)

    assert other.whole(name)
    assert list((root / "incoming").iterdir()) == [left]
    other.sweep()
    assert not list((root / "incoming").iterdir())


_STANDS = """
import sys, time
from pathlib import Path
from tritium.store.disk import LocalDisk
from tritium.store.objects import Store

class Stands(LocalDisk):
    def move(self, tree, target):
        print("copied", flush=True)
        time.sleep(600)

Store(Path(sys.argv[1]), disk=Stands()).put(Path(sys.argv[2]))
"""


def test_a_file_system_without_locks_takes_objects_and_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_: int, __: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    store = Store(tmp_path / "store", disk=LocalDisk())
    left = plant(tmp_path / "store" / "incoming" / "dead", {"model.pt": b"wei"})

    name = store.put(plant(tmp_path / "tree", {"model.pt": b"weights"}))
    store.sweep()

    assert store.whole(name)
    assert left.is_dir()

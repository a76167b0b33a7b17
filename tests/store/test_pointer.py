"""A pointer moves once per number, whoever tries at the same moment, and nobody sees half a move."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tritium.errors import BadSpec, CannotPublish
from tritium.store.disk import LocalDisk
from tritium.store.objects import Damaged, Store
from tritium.store.pointer import Pointer
from tritium.store.remote import RemoteStore, opened


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store | RemoteStore:
    return opened(str(tmp_path / "store") if request.param == "local" else f"memory:/{tmp_path}/store")


def test_a_pointer_that_was_never_moved_says_nothing(store: Store | RemoteStore) -> None:
    assert Pointer(store, "latest").read() == (0, None)


def test_of_many_who_move_it_at_once_one_succeeds_each_time(tmp_path: Path) -> None:
    """On a real disk: fsspec's memory, which stands in for object stores here, is not made for threads."""
    store = opened(str(tmp_path))

    def count() -> None:
        done = 0
        while done < 10:
            number, content = Pointer(store, "count").read()
            done += Pointer(store, "count").move(b"%d" % (int(content or b"0") + 1), after=number)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Pointer(store, "count").read() == (40, b"40"), "a move was lost"


def test_pointers_of_one_store_are_apart(store: Store | RemoteStore) -> None:
    assert Pointer(store, "one").move(b"a", after=0)
    assert Pointer(store, "two").move(b"b", after=0)

    assert not Pointer(store, "one").move(b"c", after=0)
    assert (Pointer(store, "one").read(), Pointer(store, "two").read()) == ((1, b"a"), (1, b"b"))


def test_objects_come_back_whole_or_not_at_all(store: Store | RemoteStore, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "weights").write_bytes(b"123")
    (tree / "config").write_bytes(b"{}")
    name = store.put(tree)
    assert store.put(tree) == name
    assert store.objects() == [name]

    folder = store.fetch(name, into=tmp_path / "copies")

    assert (folder / "deep" / "weights").read_bytes() == b"123"
    assert (folder / "config").read_bytes() == b"{}"
    store.drop(name)
    store.drop(name)
    with pytest.raises(Damaged, match="is not whole"):
        store.fetch(name, into=tmp_path / "more")


def test_a_damaged_remote_object_is_not_whole(tmp_path: Path) -> None:
    store = opened(f"memory:/{tmp_path}/store")
    assert isinstance(store, RemoteStore)
    (tmp_path / "state").write_bytes(b"123")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "state").write_bytes(b"123")
    name = store.put(tmp_path / "tree")

    store._fs.pipe_file(f"{store._folder(name)}/state", b"12")

    with pytest.raises(Damaged):
        store.fetch(name, into=tmp_path / "copies")


def test_a_place_that_cannot_write_on_condition_is_refused() -> None:
    """fsspec's default would look first and write then: two attempts could both publish."""
    with pytest.raises(BadSpec, match="cannot write a file on condition that there is none"):
        opened("dir::memory://x")
    with pytest.raises(BadSpec, match=r"nosuch://x cannot be opened.*pip install 'tritium\[storage\]'"):
        opened("nosuch://x")


def test_paths_and_file_urls_are_local() -> None:
    assert isinstance(opened("/tmp/x"), Store)
    assert isinstance(opened("file:///tmp/x"), Store)


def test_a_tree_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    class Full(LocalDisk):
        def move(self, tree: Path, target: Path) -> None:
            raise OSError(28, f"No space left on device for {tree}", str(target))

    (tmp_path / "tree").mkdir()

    with pytest.raises(CannotPublish, match="No space left"):
        Store(tmp_path / "store", disk=Full()).put(tmp_path / "tree")

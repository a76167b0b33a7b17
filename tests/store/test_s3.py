"""Checkpoints in an object store that speaks S3, over HTTP: one writer per entry, stale attempts shut out."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.require import require
from tritium.errors import StaleAttempt
from tritium.store.pointer import Pointer
from tritium.store.remote import opened
from tritium.train.checkpoints import Checkpoints, begin

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    for name in ("moto", "s3fs"):
        require(importlib.util.find_spec(name), what=name, install="make env")
    import s3fs
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    # One request at a time: moto looks first and writes then, where S3 does both at once.
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=False, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3a://bucket"
        s3fs.S3FileSystem.clear_instance_cache()
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_entry_is_written_once_whoever_tries_at_the_same_moment(bucket: str) -> None:
    store = opened(f"{bucket}/pointers")

    def count() -> None:
        done = 0
        while done < 5:
            number, content = Pointer(store, "count").read()
            done += Pointer(store, "count").move(b"%d" % (int(content or b"0") + 1), after=number)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Pointer(store, "count").read() == (15, b"15")


def test_a_stale_attempt_publishes_nothing_and_the_next_goes_on(bucket: str, tmp_path: Path) -> None:
    where = f"{bucket}/run"
    first = Checkpoints(where, known=begin(where), scratch=tmp_path)
    first.commit(10, (first.put({"state": b"ten", "deep/er": b"files"}),))
    second = Checkpoints(where, known=begin(where), scratch=tmp_path)

    with pytest.raises(StaleAttempt):
        first.commit(20, (first.put({"state": b"late"}),))

    found = second.latest()
    assert found is not None
    assert (found.step, (found.path / "state").read_bytes()) == (10, b"ten")
    assert (found.path / "deep" / "er").read_bytes() == b"files"
    for step in (11, 12):
        second.commit(step, (second.put({"state": b"%d" % step}),))
    second.prune(keep=1)
    third = Checkpoints(where, known=begin(where), scratch=tmp_path)
    assert len(third._store.objects()) == 1
    last = third.latest()
    assert last is not None
    assert last.step == 12

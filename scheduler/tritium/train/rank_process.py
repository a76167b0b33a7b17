"""The main program of a rank's process: take over holds and socket, run the function, leave a result.

Run by the guardian as ``python -m tritium.train.rank_process FOLDER FD...``; the descriptors are the
socket to the task, the gang's held master socket and the locks of the rank's devices. In FOLDER:
``contract.pkl``, ``function.pkl`` (the user's function and arguments), perhaps ``shard.arrow``; it
leaves ``result.pkl``: ``("returned", pickle)`` or ``("raised", cause, traceback)``.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from tritium.train import rank, rendezvous
from tritium.train.contract import Contract
from tritium.train.stacks import answer_with_stacks
from tritium_discovery import holds

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Be the rank; the exit code is 0 when a result was left, whatever it says."""
    folder = Path(argv[1])
    answer_with_stacks(folder)
    wire, listener, *hold = map(int, argv[2:])
    contract: Contract = pickle.loads((folder / "contract.pkl").read_bytes())  # noqa: S301  our own task's
    holds.adopt(hold, what=f"rank {contract.rank} of {contract.gang}")
    rank.enter(contract, socket.socket(fileno=wire))
    if contract.rank == 0:
        rendezvous.lend_listener(listener, port=contract.master[1])
    else:
        os.close(listener)
    result = _run(folder, contract)
    _flush()
    partial = folder / "result.partial"
    partial.write_bytes(pickle.dumps(result))
    partial.rename(folder / "result.pkl")
    # Threads and exit handlers of frameworks may hang or crash after the work is done.
    os._exit(0)


def _run(folder: Path, contract: Contract) -> tuple[str, ...] | tuple[str, bytes]:
    from pyspark import cloudpickle

    try:
        function, arguments = pickle.loads((folder / "function.pkl").read_bytes())  # noqa: S301  the user's own
        value = function(*_data(folder, contract), **arguments)
        return "returned", cloudpickle.dumps(value)
    except SystemExit as stop:
        if stop.code in (None, 0):
            return "returned", cloudpickle.dumps(None)
        return "exited", f"exited with code {stop.code}", traceback.format_exc()
    except BaseException as err:  # noqa: BLE001  whatever the user's function throws is its result
        cause = "".join(traceback.format_exception_only(err)).strip()
        return "raised", cause, _own_part(err)


def _data(folder: Path, contract: Contract) -> tuple[Any, ...]:
    if contract.rows is None:
        return ()
    from tritium.train.shard import Shard

    return (Shard(folder / "shard.arrow", number=contract.shard, longest=max(contract.rows)),)


def _own_part(err: BaseException) -> str:
    """Format the traceback without this module's own frame."""
    trace = err.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(err), err, trace))


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv))

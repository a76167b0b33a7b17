"""The main program of a rank's process: take over holds and socket, run the function, leave a result.

Run by the guardian as ``python -m tritium.train.rank_process FOLDER FD...``; the descriptors are the
socket to the task, the gang's held master socket and the locks of the rank's devices. In FOLDER:
``contract.pkl``, ``function.pkl`` (the user's function and arguments), perhaps ``shard.arrow`` (its rows) or
``splits.pkl`` (where it reads them); it leaves ``result.pkl``: ``("returned", pickle)`` or ``("raised",
cause, traceback)``.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import socket
import sys
import traceback
from pathlib import Path

from tritium.train import rank, rendezvous, script
from tritium.train.blame import FAILED
from tritium.train.contract import Contract
from tritium.train.shard import Shard, fill_of, table_bytes, table_from, table_of
from tritium.train.split_rows import SplitRows
from tritium.train.stacks import answer_with_stacks
from tritium_discovery import holds

__all__ = ["main"]

_FILL_LIMIT_S = 300.0
"""How long a rank waits for the others' start before its data is complete."""


def main(argv: list[str]) -> int:
    """Be the rank; the exit code is 0 when a result was left, whatever it says."""
    folder = Path(argv[1])
    answer_with_stacks(folder)
    wire, listener, *hold = map(int, argv[2:])
    contract: Contract = pickle.loads((folder / "contract.pkl").read_bytes())  # noqa: S301  our own task's
    holds.adopt(hold, what=f"rank {contract.rank} of {contract.attempt.gang}")
    talk = rank.Wire(socket.socket(fileno=wire))
    held = listener if contract.rank == 0 else None
    if held is None:
        os.close(listener)
    rendezvous.watch_store(contract.master[1], listener=held, met=lambda: talk.moment("met"))
    result = _run(folder, contract, talk)
    if result[0] != "returned":
        with contextlib.suppress(OSError):  # the gang is ending
            talk.moment(FAILED)
    _flush()
    _tell_peak(talk)
    partial = folder / "result.partial"
    partial.write_bytes(pickle.dumps(result))
    partial.rename(folder / "result.pkl")
    # Threads and exit handlers of frameworks may hang or crash after the work is done.
    os._exit(0)


def _run(folder: Path, contract: Contract, talk: rank.Wire) -> tuple[str, ...] | tuple[str, bytes]:
    from pyspark import cloudpickle

    try:
        data = _data(folder, contract, talk)
        rank.enter(contract, talk, data=data, scratch=folder)
        function, arguments = pickle.loads((folder / "function.pkl").read_bytes())  # noqa: S301  the user's own
        talk.moment("entered")
        value = function(*([data] if data is not None else []), **arguments)
        return "returned", cloudpickle.dumps(value)
    except SystemExit as stop:
        if stop.code in (None, 0):
            return "returned", cloudpickle.dumps(None)
        # As Python has it: what is no number is a message, and the code is 1.
        code = f"{stop.code}" if isinstance(stop.code, int) else f"1: {stop.code}"
        return "exited", f"exited with code {code}", _own_part(stop)
    except BaseException as err:  # noqa: BLE001  whatever the user's function throws is its result
        cause = "".join(traceback.format_exception_only(err)).strip()
        return "raised", cause, _own_part(err)


def _data(folder: Path, contract: Contract, talk: rank.Wire) -> Shard | None:
    if not contract.has_data:
        return None
    path, splits = folder / "shard.arrow", folder / "splits.pkl"
    if splits.exists():
        rows: SplitRows = pickle.loads(splits.read_bytes())  # noqa: S301  our own task's
        # No shard is empty where ranks read for themselves, and nobody lends.
        return Shard(rows, number=contract.me.shard, longest=_longest(contract))
    table = table_of(path) if path.exists() else None
    fill = None
    if (lender := contract.lender) is not None:
        lent = table_bytes(fill_of(table)) if table is not None and lender == contract.me else b""
        fill = table_from(talk.share(lent, "reading the data", timeout_s=_FILL_LIMIT_S)[lender.rank])
    return Shard(table, number=contract.me.shard, longest=_longest(contract), fill=fill)


def _longest(contract: Contract) -> int:
    return max(peer.rows for peer in contract.peers)


def _own_part(err: BaseException) -> str:
    """Format the traceback without our own frames."""
    trace = err.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, script.__file__):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(err), err, trace))


def _tell_peak(talk: rank.Wire) -> None:
    """Say how much memory this process had at most; of its devices only where a framework counts it."""
    device_mib = None
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        held = (torch.cuda.max_memory_reserved(number) for number in range(torch.cuda.device_count()))
        device_mib = sum(held) >> 20
    with contextlib.suppress(OSError):  # the gang is ending
        talk.peak(host_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, device_mib=device_mib)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv))

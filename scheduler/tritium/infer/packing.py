"""Edge to cloudpickle: a user's function as the bytes that executors get."""

from __future__ import annotations

from tritium.errors import BadSpec

__all__ = ["packed"]


def packed(value: object, *, call: str, argument: str) -> bytes:
    """Pickle what belongs to an argument of a call.

    Raises:
        BadSpec: something that the function uses cannot be sent, as a lock or a connection.
    """
    from pyspark.cloudpickle import dumps

    try:
        data: bytes = dumps(value)
    except Exception as err:
        why = str(err).partition("\n")[0]
        raise BadSpec(call, [f"{argument}: it uses what cannot be sent to executors: {why}"]) from err
    return data

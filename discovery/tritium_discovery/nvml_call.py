"""One call of pynvml as a reading: its value, or its failure with NVML's code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pynvml

from tritium_discovery.failure import UNKNOWN, UNKNOWN_TO_DRIVER
from tritium_discovery.observation import Failed, Reading
from tritium_discovery.sysfs import bus_id

__all__ = ["bus_of", "error_words", "mapped", "read"]

_T = TypeVar("_T")


def read(name: str, *arguments: Any) -> Reading[Any]:
    """One call of the binding, or its failure; an argument that failed itself passes its failure on."""
    for argument in arguments:
        if isinstance(argument, Failed):
            return argument
    try:
        answer = getattr(pynvml, name)(*arguments)
    except pynvml.NVMLError as err:
        # The mismatch error of the binding has no code; it stands for a symbol that is not there.
        code = getattr(err, "value", UNKNOWN_TO_DRIVER)
        code = code if isinstance(code, int) else UNKNOWN_TO_DRIVER
        return Failed(
            call=name, code=code, text=str(err) if code != UNKNOWN_TO_DRIVER else "Function Not Found"
        )
    except AttributeError:  # a binding older than the call
        return Failed(call=name, code=UNKNOWN_TO_DRIVER, text="Function Not Found")
    except ValueError as err:  # the binding decodes what a dying card may fill with rubbish
        return Failed(call=name, code=UNKNOWN, text=f"the answer is no text ({err})")
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer


def mapped(reading: Reading[Any], convert: Callable[[Any], _T]) -> Reading[_T]:
    """A reading in our own words; a failure stays what it is."""
    return reading if isinstance(reading, Failed) else convert(reading)


def error_words(code: int) -> str:
    """The binding's words for a code."""
    return str(pynvml.NVMLError(code))


def bus_of(info: Any) -> str:
    """The bus id in an ``nvmlPciInfo_t``."""
    return bus_id(info.busId.decode(errors="replace") if isinstance(info.busId, bytes) else str(info.busId))

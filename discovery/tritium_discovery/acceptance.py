"""Spark's rules for what a discovery script prints, applied without Spark. Pure.

Source: ``ResourceDiscoveryScriptPlugin`` and ``ResourceUtils`` of Spark 4, each rule tried on it: text before
the JSON is fatal and after it ignored; more fields are ignored; integers become strings; no addresses
count as none; duplicates and addresses beyond the amount are taken without a word.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

__all__ = ["Finding", "accept"]

_INDEX = re.compile(r"[1-9][0-9]*|0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to say about an answer."""

    fatal: bool
    """Whether Spark refuses the answer for it; else it takes it and something goes wrong later."""
    sentence: str


def accept(stdout: str, *, exit_code: int, amount: int) -> tuple[Finding, ...]:
    """All that is wrong with an answer; nothing means that it is good.

    >>> accept('{"name": "gpu", "addresses": ["0", "1"]}', exit_code=0, amount=2)
    ()
    >>> accept('hello {}', exit_code=0, amount=1)[0].sentence
    'there is no JSON at the beginning of the output: text before it is fatal'
    """
    if exit_code:
        return (_fatal(f"it exited with code {exit_code}"),)
    try:
        data, _ = json.JSONDecoder().raw_decode(stdout.lstrip())
    except (ValueError, RecursionError):
        return (_fatal("there is no JSON at the beginning of the output: text before it is fatal"),)
    if not isinstance(data, dict):
        return (_fatal("the output is no JSON object"),)
    if data.get("name") != "gpu":
        return (_fatal(f"the resource is called {data.get('name')!r} and not 'gpu'"),)
    given = data.get("addresses") or []
    if not isinstance(given, list) or not all(isinstance(one, str | int | float | bool) for one in given):
        return (_fatal(f"addresses is no list of strings: {given!r}"),)
    return _addresses([one if isinstance(one, str) else json.dumps(one) for one in given], amount)


def _addresses(given: list[str], amount: int) -> tuple[Finding, ...]:
    found = []
    if len(given) < amount:
        found.append(_fatal(f"{len(given)} addresses are fewer than the {amount} asked for"))
    if len(given) > amount:
        found.append(_taken(f"{len(given)} addresses for {amount} asked for: Spark hands out all of them"))
    if len(set(given)) < len(given):
        found.append(_taken("an address comes twice: Spark counts it twice and has it once"))
    strange = [one for one in given if not _INDEX.fullmatch(one)]
    if strange:
        found.append(
            _taken(
                f"{strange[0]!r} is no plain number: TorchDistributor, XGBoost and RAPIDS call int() on it"
            )
        )
    return tuple(found)


def _fatal(sentence: str) -> Finding:
    return Finding(fatal=True, sentence=sentence)


def _taken(sentence: str) -> Finding:
    return Finding(fatal=False, sentence=sentence)

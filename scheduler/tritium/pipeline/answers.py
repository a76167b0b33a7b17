"""Edge: what `tritium explain` answers, to a pipeline file, to a saved snapshot, or about this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tritium.assign import POLICIES, Assigned, BadRequest, Request, Unassignable
from tritium.assign.explain import Explanation, Question, answer, answer_all
from tritium.assign.wire import Malformed, from_json
from tritium.errors import BadSpec, Occupied, Unplaceable
from tritium.pipeline.load import load
from tritium.pipeline.look import survey
from tritium.pipeline.plan import POLICY, alone
from tritium.pipeline.start import MACHINE, environment, planned

__all__ = ["answers", "emulated", "exit_code", "requests_of"]

T = TypeVar("T")


def answers(
    file: Path | None, requests: Sequence[Request] = (), *, machine: str | None
) -> Mapping[str, Explanation]:
    """Return the answer to each stage of a pipeline, elsewhere to each of the ``requests``.

    Several requests are placed beside each other, those of a higher priority first.

    Raises:
        BadSpec, CodeMissing: the file is wrong, or it is not clear what is asked.
        DiscoveryError: the devices of this machine, or of the one that is emulated, cannot be read.
    """
    if file is not None and file.suffix != ".json":
        questions = _of_stages(file, requests, machine)
        return {name: answer(question) for name, question in questions.items()}
    if file is not None:
        question = _saved(file)
    elif requests:
        snapshot = alone(survey(environment(os.environ, machine)))
        question = Question(snapshot=snapshot, request=requests[0], policy=POLICY)
    else:
        raise BadSpec("explain", ["name a file, or say with --request what is asked of this machine"])
    if len(requests) > 1:
        return answer_all(question, {f"request {n}": request for n, request in enumerate(requests, 1)})
    return {"request": answer(replace(question, request=requests[0]) if requests else question)}


def emulated(file: Path | None, *, machine: str | None) -> str | None:
    """Return the machine that an answer is about if it is emulated; of a saved snapshot nobody knows."""
    if file is not None and file.suffix == ".json":
        return None
    return environment(os.environ, machine).get(MACHINE) or None


def exit_code(told: Iterable[Explanation]) -> int:
    """Return 0 if all is well, else the code of the worst answer: never is worse than not now."""
    decisions = [each.decision for each in told]
    if any(isinstance(decision, Unassignable) for decision in decisions):
        return Unplaceable.exit_code
    return 0 if all(isinstance(decision, Assigned) for decision in decisions) else Occupied.exit_code


def requests_of(text: str) -> tuple[Request, ...]:
    """Return the request that is written in YAML or JSON, e.g. ``{members: 4, near: nvlink}``, or a list.

    Raises:
        BadSpec: it is none.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise BadSpec("--request", [f"{text!r} is no YAML"]) from err
    return tuple(_typed(Request, one, "--request") for one in (data if isinstance(data, list) else [data]))


def _of_stages(file: Path, requests: Sequence[Request], machine: str | None) -> dict[str, Question]:
    if requests:
        raise BadSpec(str(file), ["its stages say what they ask for: leave out --request, or the file"])
    return {
        stage.stage: Question(snapshot=stage.snapshot, request=stage.request, policy=POLICY)
        for stage in planned(load(file), machine=machine).stages
    }


def _saved(file: Path) -> Question:
    """Read the question that ``tritium.explain`` saved."""
    where = str(file)
    try:
        question = _typed(Question, json.loads(file.read_text(encoding="utf-8")), where)
    except FileNotFoundError as err:
        raise BadSpec(where, ["there is no such file"]) from err
    except (OSError, ValueError) as err:
        raise BadSpec(where, [f"is no saved snapshot: {err}"]) from err
    if question.policy not in POLICIES:
        known = ", ".join(sorted(POLICIES))
        raise BadSpec(where, [f"policy: {question.policy!r} is unknown; there are {known}"])
    return question


def _typed(kind: type[T], data: Any, where: str) -> T:
    try:
        return from_json(kind, data)
    except Malformed as err:
        raise BadSpec(where, [str(err)]) from err
    except BadRequest as err:
        raise BadSpec(where, err.problems) from err

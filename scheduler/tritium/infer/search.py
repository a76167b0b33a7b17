"""Decides which rows of a batch a fresh owner is asked for, after some of them have broken the one before.

An error of CUDA leaves a process in which nothing works any more, so the rows to blame cannot be searched
for inside of it. It takes one owner for each half that has a guilty row in it, about ten for one row.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from tritium.infer.failure import Broken
from tritium.infer.parts import Bad
from tritium.infer.serving import Answer, joined

__all__ = ["Search"]

_MOST = 64
"""So many owners may break over one batch."""


class Search:
    """One batch, of which everything is to be answered or known to be bad.

    >>> search = Search(4)
    >>> while (rows := search.asks) is not None:
    ...     if rows[0] <= 2 < rows[1]:
    ...         search.broke(Broken("predict failed: RuntimeError: CUDA error: assert", ""))
    ...     else:
    ...         search.answered(Answer(values={"y": [*range(*rows)]}, predict_s=0.5, most=None))
    >>> answer = search.answer()
    >>> answer.values, [(bad.row, bad.message) for bad in answer.bad]
    ({'y': [0, 1, 3]}, [(2, 'CUDA error: assert')])
    """

    def __init__(self, rows: int) -> None:
        self._todo = deque([(0, rows)])
        self._answers: list[tuple[int, Answer]] = []
        self._bad: list[Bad] = []
        self._broken = 0

    @property
    def asks(self) -> tuple[int, int] | None:
        """The rows that are to be asked for now; ``None`` once all are known.

        The largest parts come first: a sound device soon answers one, and so shows that it is sound.
        """
        return self._todo[0] if self._todo else None

    def answered(self, answer: Answer) -> None:
        """Take in the answer to these rows; it must not change any more."""
        begin, end = self._todo.popleft()
        if end - begin > len(answer.bad):  # what has no row has no types either
            self._answers.append((begin, answer))
        self._bad += [replace(bad, row=begin + bad.row) for bad in answer.bad]

    def broke(self, failure: Broken) -> None:
        """Take in that the owner which was asked for these rows is no more.

        Raises:
            Broken: that has happened so often that no search makes sense.
        """
        self._broken += 1
        if self._broken > _MOST:
            raise failure
        begin, end = self._todo.popleft()
        if end - begin == 1:
            _, kind, message = failure.cause.split(": ", 2)
            self._bad.append(Bad(row=begin, step="predict", kind=kind, message=message))
        else:
            middle = (begin + end) // 2
            self._todo += [(begin, middle), (middle, end)]

    def answer(self) -> Answer:
        """Put together what is known of the whole batch."""
        answers = [answer for _, answer in sorted(self._answers, key=lambda known: known[0])]
        names = answers[0].values if answers else ()
        return Answer(
            values={name: joined([answer.values[name] for answer in answers]) for name in names},
            bad=tuple(sorted(self._bad, key=lambda bad: bad.row)),
            predict_s=sum(answer.predict_s for answer in answers),
            most=answers[-1].most if answers else None,
        )

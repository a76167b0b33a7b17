"""Decides whether a model is good enough: its metrics against the bars of the pipeline file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tritium.errors import VerifyFailed
from tritium.pipeline.spec import Verify

__all__ = ["judge", "shortfalls"]


def judge(stage: Verify, metrics: Mapping[str, float]) -> None:
    """Let a model pass.

    Raises:
        VerifyFailed: it does not; with every bar that it missed.
    """
    missed = tuple(shortfalls(metrics, at_least=stage.at_least, at_most=stage.at_most))
    if missed:
        raise VerifyFailed(f"verify: the model is not used, {stage.run} measured " + "; ".join(missed))


def shortfalls(
    metrics: Mapping[str, float], *, at_least: Mapping[str, float], at_most: Mapping[str, float]
) -> Iterator[str]:
    """Yield a phrase for each bar that is missed; a metric that is no number (NaN) misses every bar.

    >>> list(shortfalls({"accuracy": 0.91}, at_least={"accuracy": 0.95}, at_most={}))
    ['accuracy 0.91, at least 0.95 needed']
    >>> list(shortfalls({"loss": 0.1}, at_least={"accuracy": 0.95}, at_most={"loss": 0.5}))
    ['no accuracy, only loss']
    """
    for name in (*at_least, *(name for name in at_most if name not in at_least)):
        if name not in metrics:
            yield f"no {name}, only {', '.join(metrics) or 'nothing at all'}"
            continue
        value = metrics[name]
        if name in at_least and not value >= at_least[name]:
            yield f"{name} {value:g}, at least {at_least[name]:g} needed"
        if name in at_most and not value <= at_most[name]:
            yield f"{name} {value:g}, at most {at_most[name]:g} allowed"

"""Draws with inline SVG that needs no script and stays sharp and legible at any width.

Widths are percentages, so text keeps its size when a chart shrinks to a phone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from tritium.pipeline.timeline import Bar, Timeline

__all__ = ["curve", "meter", "timeline_svg"]

_NARROWEST_LABEL = 7.0
"""Percent of the axis that a bar must have to bear its label."""
_NARROWEST_ON_A_PHONE = 22.0
_BESIDE = 0.6
"""Percent between a short bar and the label that stands beside it."""
_RULES = {0: "grid", 50: "grid", 100: "base"}
"""The horizontal lines of a chart, by percent from its top."""


def timeline_svg(drawn: Timeline) -> str:
    """Draw a timeline: labels are text, lanes are SVG."""
    grid = "".join(
        f'<line class="grid" x1="{at:.2f}%" x2="{at:.2f}%" y1="0" y2="100%"/>' for at, _ in drawn.ticks
    )
    cuts = "".join(
        f'<line class="cut" x1="{at:.2f}%" x2="{at:.2f}%" y1="0" y2="100%"/>' for at, _ in drawn.cuts
    )
    lanes = "".join(
        f'<div class="label">{escape(lane.label)}<small>{escape(lane.detail)}</small></div>'
        f'<svg class="lane" role="img" aria-label="{escape(lane.label)}">{grid}{cuts}'
        f"{''.join(_bars(lane.bars))}</svg>"
        for lane in drawn.lanes
    )
    marks = "".join(_mark(at, text, "tick") for at, text in drawn.ticks)
    marks += "".join(_mark(at, text, "later", y=30) for at, text in drawn.cuts)
    height = 36 if drawn.cuts else 20
    axis = f'<svg class="axis" style="height:{height}px" aria-hidden="true">{marks}</svg>'
    return f'<div class="timeline">{lanes}<div class="label"></div>{axis}</div>'


def _mark(at: float, text: str, kind: str, *, y: int = 14) -> str:
    anchor = "start" if at < 2 else "end" if at > 96 else "middle"  # noqa: PLR2004  percent, near the edges
    return f'<text class="{kind}" x="{at:.2f}%" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _bars(bars: Sequence[Bar]) -> Iterator[str]:
    """Draw a lane's bars, each with its label in it, or beside it as far as the next one leaves room."""
    in_order = sorted(bars, key=lambda bar: bar.start)
    for bar, after in zip(in_order, (*(bar.start for bar in in_order[1:]), 100.0), strict=True):
        end = bar.start + bar.length
        if bar.length >= _NARROWEST_LABEL:
            yield _bar(bar, _text(bar.label, bar.start + bar.length / 2, "middle"))
        elif after - end >= _NARROWEST_LABEL:
            yield _bar(bar, _text(bar.label, end + _BESIDE, "start", kind="beside"))
        else:
            yield _bar(bar, "")


def _text(label: str, at: float, anchor: str, *, kind: str = "in") -> str:
    return f'<text class="{kind}" x="{at:.2f}%" y="18" text-anchor="{anchor}">{escape(label)}</text>'


def _bar(bar: Bar, label: str) -> str:
    short = " short" if bar.length < _NARROWEST_ON_A_PHONE else ""
    return (
        f'<g class="bar {bar.kind}{short}"><title>{escape(f"{bar.label}: {bar.title}")}</title>'
        f'<rect x="{bar.start:.2f}%" y="3" width="{bar.length:.2f}%" height="22" rx="3"/>{label}</g>'
    )


def curve(name: str, lines: Mapping[str, Sequence[tuple[float, float]]], *, across: str) -> str:
    """Draw one quantity over another, one line per name in ``lines``."""
    points = [point for line in lines.values() for point in line]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(0.0, *(y for _, y in points)), max(y for _, y in points)
    wide, tall = (right - left) or 1.0, (high - low) or 1.0

    def stroke(number: int, label: str, line: Sequence[tuple[float, float]]) -> str:
        places = (f"{100 * (x - left) / wide:.2f},{100 - 100 * (y - low) / tall:.2f}" for x, y in line)
        title = f"<title>{escape(label)}</title>"
        return f'<polyline class="stroke s{number % 4}" points="{" ".join(places)}">{title}</polyline>'

    strokes = "".join(stroke(number, label, line) for number, (label, line) in enumerate(lines.items()))
    grid = "".join(f'<line class="{kind}" x1="0" x2="100" y1="{y}" y2="{y}"/>' for y, kind in _RULES.items())
    ends = ", ".join(dict.fromkeys(f"{line[-1][1]:.3g}" for line in lines.values()))
    keys = "".join(f'<span class="key s{n % 4}">{escape(label)}</span>' for n, label in enumerate(lines))
    return "".join(
        (
            f'<figure class="curve"><figcaption>{escape(name)} <b>{escape(ends)}</b>',
            f'<span class="keys">{keys}</span></figcaption>',
            f'<div class="plot"><span class="high">{high:.3g}</span><span class="low">{low:.3g}</span>',
            f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{escape(name)}">',
            f"{grid}{strokes}</svg></div>",
            f'<div class="range"><span>{escape(across)} {left:g}</span><span>{right:g}</span></div></figure>',
        )
    )


def meter(share: float) -> str:
    """Draw a small horizontal bar, for a number in a table."""
    return (
        '<svg class="meter" aria-hidden="true"><rect class="rail" width="100%" height="100%" rx="2"/>'
        f'<rect class="fill" width="{100 * share:.1f}%" height="100%" rx="2"/></svg>'
    )

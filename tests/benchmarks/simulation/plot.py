"""The plot: one panel of bars per measure, as SVG."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def draw(rows: Mapping[str, Mapping[str, float]], *, more_is_better: Collection[str]) -> str:
    """Draw one panel of bars per column."""
    width, bar, gap = 230, 22, 8
    height = 46 + len(rows) * (bar + gap)
    colours = ("#1f6feb", "#58a6ff", "#d29922", "#8b949e")
    parts = []
    shown = [column for column in next(iter(rows.values())) if any(row[column] for row in rows.values())]
    for number, column in enumerate(shown):
        x, y = 20 + number % 4 * (width + 70), 20 + number // 4 * (height + 10)
        most = max(row[column] for row in rows.values())
        better = "more is better" if column in more_is_better else "less is better"
        parts.append(f'<text x="{x}" y="{y + 14}" font-weight="bold">{column}</text>')
        parts.append(f'<text x="{x}" y="{y + 29}" fill="#6e7781" font-size="11">{better}</text>')
        for place, (name, row) in enumerate(rows.items()):
            top, length = y + 38 + place * (bar + gap), row[column] / most * width * 0.72
            text = f"{name}: {row[column]:,.2f}"
            shape = f'x="{x}" y="{top}" width="{max(1.0, length):.1f}" height="{bar}"'
            parts.append(f'<rect {shape} fill="{colours[place]}" fill-opacity="0.6"/>')
            parts.append(f'<text x="{x + 6}" y="{top + 15}" font-size="12">{text}</text>')
    size = f'width="{4 * (width + 70)}" height="{2 * (height + 10)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])

"""The parts of a chart: scales with round ticks, axes, marks. Plain SVG text, coloured by the page's CSS.

Lengths are SVG user units; a chart is drawn about WIDTH wide and scaled by the page. Colours are CSS classes (`c0` to
`c5`, `axis`, `grid`), so that light, dark and print need one drawing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nlptk.report.markup import escape, number

WIDTH = 560
SERIES = 6
"""Distinguishable series colours; more series repeat them with another dash."""


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values (1, 2 or 5 times a power of ten apart) that enclose [low, high]."""
    if high <= low:
        half = abs(low) * 0.1 or 1.0
        low, high = low - half, high + half
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12 - math.floor(math.log10(step))) for index in range(first, last + 1)]


@dataclass(frozen=True)
class Scale:
    """A linear map from values [low, high] to positions [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class Frame:
    """The plot area: its two scales and ticks."""

    x: Scale
    y: Scale
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    height: float

    @classmethod
    def around(cls, x_ticks: Sequence[float], y_ticks: Sequence[float], *, height: float = 300) -> Frame:
        """A frame whose axes run from the first tick to the last, with room for tick labels and titles."""
        left = 34 + 7 * max(len(number(tick)) for tick in y_ticks)
        x = Scale(x_ticks[0], x_ticks[-1], left, WIDTH - 16)
        y = Scale(y_ticks[0], y_ticks[-1], height - 46, 12)
        return cls(x, y, x_ticks, y_ticks, height)

    def axes(self, x_label: str, y_label: str) -> str:
        """Grid, tick labels and axis titles."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        parts = []
        for tick in self.y_ticks:
            at = self.y(tick)
            parts.append(line(left, at, right, at, "grid"))
            parts.append(text(left - 7, at + 4, number(tick), "tick end"))
        for tick in self.x_ticks:
            at = self.x(tick)
            parts.append(line(at, bottom, at, bottom + 4, "axis"))
            parts.append(text(at, bottom + 18, number(tick), "tick mid"))
        parts.append(line(left, bottom, right, bottom, "axis"))
        parts.append(text((left + right) / 2, self.height - 8, x_label, "label mid"))
        middle = (top + bottom) / 2
        parts.append(text(13, middle, y_label, "label mid", rotate=-90))
        return "".join(parts)


def at(value: float) -> str:
    """A coordinate with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{at(x1)}" y1="{at(y1)}" x2="{at(x2)}" y2="{at(y2)}" class="{style}"/>'


def rect(x: float, y: float, width: float, height: float, style: str, *, title: str = "", opacity: float = 1) -> str:
    """A rectangle; title is shown when pointed at."""
    tip = f"<title>{escape(title)}</title>" if title else ""
    fade = f' fill-opacity="{at(opacity)}"' if opacity != 1 else ""
    place = f'x="{at(x)}" y="{at(y)}" width="{at(width)}" height="{at(height)}"'
    return f'<rect {place} class="{style}"{fade}>{tip}</rect>' if tip else f'<rect {place} class="{style}"{fade}/>'


def circle(x: float, y: float, radius: float, style: str, *, title: str = "") -> str:
    tip = f"<title>{escape(title)}</title>" if title else ""
    return f'<circle cx="{at(x)}" cy="{at(y)}" r="{at(radius)}" class="{style}">{tip}</circle>'


def text(x: float, y: float, content: str, style: str, *, rotate: float = 0, title: str = "") -> str:
    """One line of text, escaped; the style sets where x is: `mid`, `end`, or the start."""
    turn = f' transform="rotate({at(rotate)} {at(x)} {at(y)})"' if rotate else ""
    tip = f"<title>{escape(title)}</title>" if title else ""
    return f'<text x="{at(x)}" y="{at(y)}" class="{style}"{turn}>{escape(content)}{tip}</text>'


def polyline(points: Sequence[tuple[float, float]], style: str) -> str:
    joined = " ".join(f"{at(x)},{at(y)}" for x, y in points)
    return f'<polyline points="{joined}" class="{style}"/>'


def series_style(index: int) -> str:
    """CSS classes of the index-th series: a colour, and a dash that differs where colours alone might not tell."""
    return f"c{index % SERIES} d{index % 4 if index < SERIES else (index + 1) % 4}"


def drawing(width: float, height: float, body: str, *, title: str, style: str = "chart") -> str:
    """The whole SVG element; the title is what a screen reader says."""
    box = f'viewBox="0 0 {at(width)} {at(height)}" width="{at(width)}" height="{at(height)}"'
    return f'<svg {box} class="{style}" role="img" aria-label="{escape(title)}">{body}</svg>'


def legend(names: Sequence[str]) -> str:
    """The series' names beside a sample of their line, as HTML above a chart; empty for a single series."""
    if len(names) < 2:
        return ""
    items = []
    for index, name in enumerate(names):
        sample = line(0, 6, 26, 6, f"line {series_style(index)}")
        items.append(f'<li><svg width="26" height="12" aria-hidden="true">{sample}</svg>{escape(name)}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'

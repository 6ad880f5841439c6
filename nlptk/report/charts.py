"""Curves, histograms, bars, reliability diagrams and interval marks as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nlptk.report import svg
from nlptk.report.markup import measured, name_of, number, shortened
from nlptk.report.tables import column_format, scrolling

MOST_POINTS = 400
"""Points drawn of one line; of longer ones the lowest and highest of each stretch are kept."""
INTERVAL_WIDTH = 300
BESIDE = 3.0
"""Between the intervals of two lines at the same x."""
Point = tuple[float, float | None]


def curves(section: Mapping[str, Any]) -> str:
    """Lines over a common x; a single point is drawn as a dot, a missing y breaks the line. An interval is upright, and
    those of several lines stand side by side."""
    series = {name: [point for point in points if point[0] is not None] for name, points in section["series"].items()}
    lines = {name: thinned([(x, y) for x, y, *_ in points]) for name, points in series.items()}
    intervals = [[(x, *ends) for x, _, *ends in points if ends and None not in ends] for points in series.values()]
    beside = [index for index, found in enumerate(intervals) if found]
    xs = [x for points in lines.values() for x, y in points if y is not None]
    ys = [y for points in lines.values() for _, y in points if y is not None]
    ys += [end for found in intervals for _, *ends in found for end in ends]
    if not xs:
        return nothing()
    low = 0.0 if 0 <= min(ys) < 0.5 * max(ys) else min(ys)
    x_ticks = svg.nice_ticks(min(xs), max(xs), 6)
    frame = svg.Frame.around(x_ticks, svg.nice_ticks(low, max(ys)))
    drawn = [frame.axes(section["x_label"], section["y_label"])]
    for index, points in enumerate(lines.values()):
        style = svg.series_style(index)
        aside = BESIDE * (beside.index(index) - (len(beside) - 1) / 2) if index in beside else 0.0
        for run in unbroken(points):
            places = [(frame.x(x) + aside, frame.y(y)) for x, y in run]
            if len(places) <= 12:
                drawn += [svg.circle(*place, 2.6, f"dot {style}") for place in places]
            drawn.append(svg.polyline(places, f"line {style}"))
        for x, low_end, high_end in intervals[index]:
            place = frame.x(x) + aside
            drawn.append(svg.line(place, frame.y(low_end), place, frame.y(high_end), f"whisker {style}"))
    title = f"{section['title']}: {section['y_label']} over {section['x_label']}"
    return svg.legend(list(lines)) + svg.drawing(svg.WIDTH, frame.height, "".join(drawn), title=title)


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most about `most` points that keep every visible peak: of each stretch its lowest and its highest."""
    if len(points) <= most:
        return list(points)
    kept: list[Point] = []
    stretch = -(-2 * len(points) // most)
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        defined = [index for index, (_, y) in enumerate(part) if y is not None]
        if not defined:
            kept.append(part[0])
            continue
        values = {index: part[index][1] or 0.0 for index in defined}
        kept += [part[i] for i in sorted({min(values, key=values.__getitem__), max(values, key=values.__getitem__)})]
    return kept


def unbroken(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    """The stretches between missing values."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def histogram(section: Mapping[str, Any]) -> str:
    """Filled bars for one series; for several, outlines over a light fill so that all can be seen."""
    edges, series = section["edges"], section["counts"]
    top = max((count or 0 for counts in series.values() for count in counts), default=0)
    if not top:
        return nothing()
    marks = {name: x for name, x in section["marks"].items() if x is not None}
    x_ticks = svg.nice_ticks(min([edges[0], *marks.values()]), max([edges[-1], *marks.values()]), 6)
    frame = svg.Frame.around(x_ticks, svg.nice_ticks(0, top, 4), height=260 + 14 * len(marks))
    drawn = [frame.axes(section["x_label"], "count")]
    if len(series) == 1:
        drawn += [filled(frame, edges, counts) for counts in series.values()]
    else:
        drawn += [outlined(frame, edges, counts, index) for index, counts in enumerate(series.values())]
    drawn += [mark(frame, name, x, level) for level, (name, x) in enumerate(marks.items())]
    body = "".join(drawn)
    return svg.legend(list(series)) + svg.drawing(svg.WIDTH, frame.height, body, title=section["title"])


def filled(frame: svg.Frame, edges: Sequence[float], counts: Sequence[float]) -> str:
    """One bar a bin, with its count when pointed at."""
    drawn = []
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            left, wide, up = frame.x(low), frame.x(high) - frame.x(low), frame.y(count)
            tip = f"{number(count)} from {number(low)} to {number(high)}"
            drawn.append(svg.rect(left + 0.5, up, max(0.5, wide - 1), frame.y.start - up, "bar c0", title=tip))
    return "".join(drawn)


def outlined(frame: svg.Frame, edges: Sequence[float], counts: Sequence[float], index: int) -> str:
    """The histogram's outline as steps, lightly filled."""
    places = [(frame.x(edges[0]), frame.y(0))]
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        places += [(frame.x(low), frame.y(count or 0)), (frame.x(high), frame.y(count or 0))]
    places.append((frame.x(edges[-1]), frame.y(0)))
    style = svg.series_style(index)
    return svg.polyline(places, f"area {style}") + svg.polyline(places, f"line {style}")


def mark(frame: svg.Frame, name: str, x: float, level: int) -> str:
    """A vertical line at x with its name, written to the side that has room; level: how many names are above."""
    place = frame.x(x)
    late = place > (frame.x.start + frame.x.end) / 2
    label = f"{name} {number(x)}"
    at_height = frame.y.end + 10 + 15 * level
    side = svg.text(place + (-5 if late else 5), at_height, label, "tick mark-label halo" + (" end" if late else ""))
    return svg.line(place, frame.y.start, place, frame.y.end, "mark") + side


def bars(section: Mapping[str, Any]) -> str:
    """One horizontal bar a label, its value at the end."""
    values = section["values"]
    known = [value for value in values if value is not None]
    if not known:
        return nothing()
    fixed = column_format(known) == "fixed"
    names = [shortened(label, 26) for label in section["labels"]]
    left = 14 + 7 * max(len(name) for name in names)
    row = 22 if len(names) <= 40 else 16
    ticks = svg.nice_ticks(min(0.0, *known), max(0.0, *known), 5)
    scale = svg.Scale(ticks[0], ticks[-1], left, svg.WIDTH - 56)
    bottom = 6 + row * len(names)
    drawn = [svg.line(scale(tick), 4, scale(tick), bottom, "grid") for tick in ticks]
    drawn += [svg.text(scale(tick), bottom + 16, number(tick), "tick mid") for tick in ticks]
    for index, (name, value) in enumerate(zip(names, values, strict=True)):
        middle = 6 + row * (index + 0.5)
        drawn.append(svg.text(left - 7, middle + 4, name, "tick end", title=section["labels"][index]))
        if value is not None:
            start, end = sorted((scale(0.0), scale(value)))
            drawn.append(svg.rect(start, middle - row * 0.32, max(0.5, end - start), row * 0.64, "bar c0"))
        written = "—" if value is None else f"{value:.3f}" if fixed else number(value, 3)
        drawn.append(
            svg.text((scale(0.0) if value is None else max(end, scale(0.0))) + 5, middle + 4, written, "tick halo")
        )
    drawn.append(svg.line(scale(0.0), 4, scale(0.0), bottom, "axis"))
    drawn.append(svg.text((left + svg.WIDTH - 56) / 2, bottom + 36, section["x_label"], "label mid"))
    title = f"{section['title']}: {section['x_label']}"
    return scrolling(svg.drawing(svg.WIDTH, bottom + 44, "".join(drawn), title=title), rows=len(names))


def reliability(section: Mapping[str, Any]) -> str:
    """Observed share over stated probability with 95 % intervals, the diagonal, and the bins' counts beneath."""
    bins = [bin_ for bin_ in section["bins"] if bin_["count"]]
    if not bins:
        return nothing()
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    frame = svg.Frame.around(ticks, ticks, height=340)
    drawn = [frame.axes("stated probability", "observed share")]
    drawn.append(svg.line(frame.x(0), frame.y(0), frame.x(1), frame.y(1), "mark"))
    most = max(bin_["count"] for bin_ in bins)
    for bin_ in bins:
        x, y = frame.x(bin_["confidence"]), frame.y(bin_["accuracy"])
        if bin_.get("low") is not None and bin_.get("high") is not None:
            drawn.append(svg.line(x, frame.y(bin_["low"]), x, frame.y(bin_["high"]), "whisker c0"))
        tip = f"{number(bin_['count'])} decisions: stated {bin_['confidence']:.3f}, observed {bin_['accuracy']:.3f}"
        drawn.append(svg.circle(x, y, 3 + 5 * (bin_["count"] / most) ** 0.5, "dot c0", title=tip))
    places = [(frame.x(bin_["confidence"]), frame.y(bin_["accuracy"])) for bin_ in bins]
    drawn.insert(2, svg.polyline(places, "line c0 thin"))
    ece = section["ece"]
    said = "" if ece is None else f"{name_of('ece')} {measured(ece)}. "
    said = f'<p class="aside">{said}Dashed: perfect calibration. Bars: 95 % intervals. Larger dots: more decisions.</p>'
    return said + svg.drawing(svg.WIDTH, frame.height, "".join(drawn), title=section["title"])


def interval_mark(figure: Mapping[str, Any], scale: tuple[float, float]) -> str:
    """A value and its interval on a line that spans the scale; empty where there is no interval or it lies beyond."""
    value, low, high = figure.get("value"), figure.get("low"), figure.get("high")
    if value is None or low is None or high is None or not scale[0] <= low <= high <= scale[1]:
        return ""
    place = svg.Scale(scale[0], scale[1], 2, INTERVAL_WIDTH - 2)
    left, right = place(low), place(high)
    body = svg.line(2, 9, INTERVAL_WIDTH - 2, 9, "grid")
    body += svg.rect(left, 5, max(1.0, right - left), 8, "band c0")
    body += svg.line(place(value), 2, place(value), 16, "whisker c0")
    title = f"{measured(value)}, 95 % interval {measured(low)} to {measured(high)}"
    return svg.drawing(INTERVAL_WIDTH, 18, body, title=title, style="interval")


def nothing() -> str:
    return '<p class="aside">Nothing to draw: no values.</p>'

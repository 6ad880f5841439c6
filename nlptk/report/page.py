"""A checked report -> one HTML page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from nlptk.report import charts
from nlptk.report.heatmap import matrix
from nlptk.report.markup import LOWER_IS_BETTER, cell, escape, interval, measured, name_of
from nlptk.report.style import CSS
from nlptk.report.tables import scrolling, table_html

LONG_EXAMPLE = 700
"""Characters from which an example's text is folded."""


def page(report: Mapping[str, Any]) -> str:
    """The whole document: title, headline figures, context, contents, sections. report: as `checked_state` gives it."""
    groups = grouped(report["sections"])
    slugs = anchors(groups)
    contents = contents_html(groups, slugs)
    parts = []
    for group, sections in groups.items():
        heading = f"<h2>{escape(group)}</h2>" if group else ""
        parts.append(heading + "".join(section_html(section, slugs[id(section)]) for section in sections))
    subtitle = f'<p class="subtitle">{escape(report["subtitle"])}</p>' if report["subtitle"] else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(report['title'])}</title>\n<style>{CSS}</style></head>\n<body>"
        f'<div class="page"><header><h1>{escape(report["title"])}</h1>{subtitle}{warnings_html(report["warnings"])}'
        f"{headline_html(report['headline'], report['primary'])}{context_html(report['context'])}</header>"
        f"{contents}<main>{''.join(parts)}</main></div></body></html>\n"
    )


def grouped(sections: list[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Sections under their group's name, groups and sections in order of first appearance; "" for those without."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for section in sections:
        groups.setdefault(section.get("group") or "", []).append(section)
    return groups


def anchors(groups: Mapping[str, list[Mapping[str, Any]]]) -> dict[int, str]:
    """A unique anchor for each section, by the section's id()."""
    found: dict[int, str] = {}
    used: set[str] = set()
    for section in (section for sections in groups.values() for section in sections):
        base = re.sub(r"[^a-z0-9]+", "-", section["title"].lower()).strip("-") or "section"
        slug, copy = base, 2
        while slug in used:
            slug, copy = f"{base}-{copy}", copy + 1
        used.add(slug)
        found[id(section)] = slug
    return found


def contents_html(groups: Mapping[str, list[Mapping[str, Any]]], slugs: Mapping[int, str]) -> str:
    """The table of contents; empty for fewer than two sections."""
    if sum(map(len, groups.values())) < 2:
        return ""
    parts = []
    for group, sections in groups.items():
        links = "".join(f'<li><a href="#{slugs[id(s)]}">{escape(s["title"])}</a></li>' for s in sections)
        name = f"<span>{escape(group)}</span>" if group else ""
        parts.append(f"<li>{name}<ul>{links}</ul></li>")
    return f'<nav aria-label="Contents"><ul>{"".join(parts)}</ul></nav>'


def warnings_html(warnings: list[str]) -> str:
    """What must be seen before any figure; empty where there is nothing to warn of."""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f'<ul class="warnings" role="alert">{items}</ul>' if items else ""


def headline_html(headline: Mapping[str, Any], primary: str | None) -> str:
    """The headline figures as cards, the primary one first and larger."""
    order = sorted(headline, key=lambda name: name != primary)
    cards = []
    for name in order:
        figure = headline[name]
        style, asides = ("card primary", ["primary"]) if name == primary else ("card", [])
        if name in LOWER_IS_BETTER:
            asides.append("lower is better")
        aside = f" <small>{', '.join(asides)}</small>" if asides else ""
        span = interval(figure["low"], figure["high"])
        bracket = f'<div class="span" title="95 % interval">{span}</div>' if span else ""
        cards.append(
            f'<div class="{style}"><dt>{escape(name_of(name))}{aside}</dt>'
            f'<dd><div class="value">{measured(figure["value"])}</div>{bracket}</dd></div>'
        )
    if not cards:
        return ""
    intervals = any(figure["low"] is not None for figure in headline.values())
    legend = '<p class="aside">Brackets: 95 % bootstrap interval over rows.</p>' if intervals else ""
    return f'<dl class="cards">{"".join(cards)}</dl>{legend}'


def scale_of(figures: list[Mapping[str, Any]]) -> tuple[float, float]:
    """A common scale: [0, 1], or [-1, 1] where a value is negative; what lies beyond (a log loss) gets no mark."""
    values = [figure[key] for figure in figures for key in ("value", "low", "high") if figure.get(key) is not None]
    return (-1.0, 1.0) if any(-1 <= value < 0 for value in values) else (0.0, 1.0)


def context_html(context: Mapping[str, Any]) -> str:
    return facts_html(context) if context else ""


def facts_html(facts: Mapping[str, Any]) -> str:
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{cell(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{items}</dl>'


def figures_html(figures: Mapping[str, Any]) -> str:
    """A table of values and intervals with a mark for each on a common scale."""
    scale = scale_of(list(figures.values()))
    rows = []
    for name, figure in figures.items():
        span = interval(figure.get("low"), figure.get("high"))
        rows.append(
            f'<tr><th scope="row">{escape(name_of(name))}</th><td class="n">{measured(figure.get("value"))}</td>'
            f'<td class="n">{span}</td><td>{charts.interval_mark(figure, scale)}</td></tr>'
        )
    head = f'<th>figure</th><th class="n">value</th><th class="n">95 % interval</th><th>{ends(scale)}</th>'
    table = f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return scrolling(table)


def ends(scale: tuple[float, float]) -> str:
    """The scale's two ends above the interval marks."""
    return f'<span class="ends"><span>{measured(scale[0])}</span><span>{measured(scale[1])}</span></span>'


def example_html(row: Mapping[str, Any]) -> str:
    """One example: its text, folded where long, and the rest as names and values."""
    text = row.get("text")
    rest = "".join(f"<div><dt>{escape(k)}</dt><dd>{cell(v)}</dd></div>" for k, v in row.items() if k != "text")
    body = ""
    if text is not None:
        written = escape(text)
        body = f'<blockquote dir="auto">{written}</blockquote>'
        if len(str(text)) > LONG_EXAMPLE:
            start = escape(str(text)[:200])
            body = f'<details><summary dir="auto">{start} …</summary>{body}</details>'
    return f'<article class="example">{body}<dl class="facts inline">{rest}</dl></article>'


def section_html(section: Mapping[str, Any], anchor: str) -> str:
    """One section with its title and note."""
    note = f'<p class="note">{escape(section["note"])}</p>' if section.get("note") else ""
    kind = section["kind"]
    head = f"<h3>{escape(section['title'])}</h3>{note}"
    return f'<section id="{anchor}" class="kind-{kind}">{head}{RENDERERS[kind](section)}</section>'


def _code(section: Mapping[str, Any]) -> str:
    language = escape(section["language"])
    return f'<pre tabindex="0" data-language="{language}"><code>{escape(section["text"])}</code></pre>'


RENDERERS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "facts": lambda section: facts_html(section["facts"]),
    "table": lambda section: table_html(section["columns"], section["rows"]),
    "figures": lambda section: figures_html(section["figures"]),
    "curves": charts.curves,
    "matrix": matrix,
    "reliability": charts.reliability,
    "histogram": charts.histogram,
    "bars": charts.bars,
    "code": _code,
    "examples": lambda section: "".join(example_html(row) for row in section["rows"]),
}
"""Kind -> what draws it; a test holds it equal to `sections.KEYS`."""

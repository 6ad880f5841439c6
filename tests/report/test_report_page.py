"""The page: well formed, self-contained, escaped, and with the right numbers in it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from nlptk import report
from nlptk.errors import NlptkError
from nlptk.report import charts, heatmap, markup, svg, tables
from nlptk.report.document import checked_state
from nlptk.report.page import page
from nlptk.task import Figure, Section

EVIL = "<script>alert('x')</script> & \"quoted\" \x00\u202e"
VOID = {"meta", "br", "img", "input", "link", "hr"}


def page_of(*sections: Section, **more: Any) -> str:
    return page(checked_state({"title": "T", "sections": list(sections), **more}))


class Elements(HTMLParser):
    """Tags and attributes in order; fails on tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> Elements:
    elements = Elements()
    elements.feed(html)
    assert elements.open == []
    return elements


def evil_report() -> str:
    values = np.array([[3, 1], [0, 2]])
    labels = [EVIL, EVIL + "2"]
    return page_of(
        report.facts(EVIL, {EVIL: EVIL}, note=EVIL, group=EVIL),
        report.table("t", [EVIL], [[EVIL], [[EVIL]], [{EVIL: EVIL}]]),
        report.figures("f", {EVIL: Figure(0.5, 0.4, 0.6)}),
        report.curves(EVIL, {EVIL: [[0, 1], [1, 2]], "b": [[0, 1]]}, x_label=EVIL, y_label=EVIL),
        report.matrix(EVIL, values, row_labels=labels, column_labels=labels, row_axis=EVIL, column_axis=EVIL),
        report.histogram(EVIL, {EVIL: [1, 2]}, edges=[0, 1, 2], x_label=EVIL, marks={EVIL: 1}),
        report.bars(EVIL, {EVIL: 1.0}, x_label=EVIL),
        report.code(EVIL, EVIL, language=EVIL),
        report.examples(EVIL, [{"text": EVIL * 40, EVIL: EVIL}]),
        subtitle=EVIL,
        headline={EVIL: Figure(0.5, 0.4, 0.6)},
        primary=EVIL,
        context={EVIL: EVIL},
    )


def test_texts_appear_as_text_and_never_as_markup() -> None:
    elements = parsed(evil_report())
    assert "script" not in {tag for tag, _ in elements.seen}
    assert not any(name.startswith("on") for _, attributes in elements.seen for name in attributes)
    assert "<script>alert('x')</script>" in "".join(elements.text)


def test_the_page_loads_nothing_from_outside() -> None:
    elements = parsed(evil_report())
    assert not {"link", "img", "iframe", "object", "use"} & {tag for tag, _ in elements.seen}
    links = [v for _, attributes in elements.seen for k, v in attributes.items() if k in ("src", "href", "xlink:href")]
    assert links
    assert all(link is not None and link.startswith("#") for link in links)
    assert not re.search(r"url\(|@import|https?:", evil_report())


def test_every_link_of_the_contents_has_its_section_even_for_equal_titles() -> None:
    elements = parsed(page_of(report.facts("Same", {}), report.facts("Same", {}), report.facts("日本", {})))
    anchors = [attributes["id"] for tag, attributes in elements.seen if tag == "section"]
    links = [attributes["href"] for tag, attributes in elements.seen if tag == "a"]
    assert links == [f"#{anchor}" for anchor in anchors]
    assert len(set(anchors)) == 3


def test_charts_are_well_formed_xml() -> None:
    drawings = re.findall(r"<svg.*?</svg>", evil_report(), flags=re.DOTALL)
    assert len(drawings) >= 6
    for drawing in drawings:
        ET.fromstring(drawing)


def test_sections_stand_under_their_group_in_order_of_first_appearance() -> None:
    html = page_of(
        report.facts("one", {}, group="Results"), report.facts("two", {}, group="Data"),
        report.facts("three", {}, group="Results"),
    )  # fmt: skip
    headings = re.findall(r"<h[23]>(.*?)</h[23]>", html)
    assert headings == ["Results", "one", "three", "Data", "two"]


def test_the_primary_figure_comes_first_with_its_interval() -> None:
    html = page_of(headline={"accuracy": Figure(0.5), "macro_f1": Figure(0.931, 0.919, 1.0)}, primary="macro_f1")
    assert html.index("Macro F1") < html.index("Accuracy")
    assert "[0.919, 1.000]" in html


def test_a_confusion_cell_tells_labels_count_and_share() -> None:
    html = page_of(report.matrix("C", [[3, 1], [0, 2]], row_labels=["a", "b"], column_labels=["a", "b"]))
    assert "gold label a, predicted label b: 1 (25% of its row)" in html


def test_a_large_matrix_is_shaded_without_numbers_and_lists_the_most_confused_pairs() -> None:
    values = np.eye(40, dtype=int) * 9
    values[3, 7], values[5, 2] = 6, 4
    names = [f"L{i}" for i in range(40)]
    html = page_of(report.matrix("C", values, row_labels=names, column_labels=names))
    assert "The 2 most confused pairs" in html
    assert re.search(r"L3</bdi></td><td><bdi>L7</bdi></td><td class=\"n\">6</td><td class=\"n\"><bdi>40%", html)
    assert "cell-number" not in html.split("</style>")[1]


def test_curves_place_points_on_the_scale_and_break_at_missing_values() -> None:
    section = report.curves("L", {"a": [[0, 0.0], [5, 1.0], [6, None], [10, 0.5]]}, x_label="x", y_label="y")
    lines = re.findall(r'<polyline points="([^"]*)"', charts.curves(section))
    frame = svg.Frame.around(svg.nice_ticks(0, 10, 6), svg.nice_ticks(0, 1))
    first = f"{svg.at(frame.x(0))},{svg.at(frame.y(0))} {svg.at(frame.x(5))},{svg.at(frame.y(1))}"
    assert lines == [first, f"{svg.at(frame.x(10))},{svg.at(frame.y(0.5))}"]


def test_curves_draw_the_intervals_of_their_points_on_the_scale() -> None:
    points: dict[str, list[list[float | None]]] = {"a": [[1, 0.5, 0.4, 0.7], [5, 0.8, None, None]], "b": [[1, 0.6]]}
    drawn = charts.curves(report.curves("L", points, x_label="x", y_label="y"))
    frame = svg.Frame.around(svg.nice_ticks(1, 5, 6), svg.nice_ticks(0.4, 0.8))
    x, low, high = (svg.at(value) for value in (frame.x(1), frame.y(0.4), frame.y(0.7)))
    assert re.findall(r'<line [^>]*class="whisker[^>]*>', drawn) == [
        f'<line x1="{x}" y1="{low}" x2="{x}" y2="{high}" class="whisker {svg.series_style(0)}"/>'
    ]


def test_intervals_of_several_lines_stand_side_by_side() -> None:
    points: dict[str, list[list[float | None]]] = {name: [[1, 0.5, 0.4, 0.7], [5, 0.8, 0.6, 0.9]] for name in "abc"}
    drawn = charts.curves(report.curves("L", points, x_label="x", y_label="y"))
    places = [float(x) for x in re.findall(r'<line x1="([^"]*)"[^>]*class="whisker', drawn)]
    middle = svg.Frame.around(svg.nice_ticks(1, 5, 6), svg.nice_ticks(0.4, 0.9)).x(1)
    assert places[::2] == pytest.approx([middle - charts.BESIDE, middle, middle + charts.BESIDE], abs=0.06)
    assert len(set(places)) == 6


def test_a_point_of_another_length_is_refused() -> None:
    with pytest.raises(NlptkError, match="point 1 of 'a' has 3 items; expected 4"):
        page_of(report.curves("L", {"a": [[0, 1], [1, 2, 3]]}, x_label="x", y_label="y"))


@pytest.mark.parametrize(
    "section",
    [
        report.curves("E", {}, x_label="x", y_label="y"),
        report.curves("E", {"a": [[0, None]]}, x_label="x", y_label="y"),
        report.histogram("E", {"a": [0]}, edges=[0, 1], x_label="x"),
        report.bars("E", {}, x_label="x"),
        report.matrix("E", [], row_labels=[], column_labels=[]),
        report.reliability("E", [], ece=None),
        report.table("E", ["a"], []),
        report.figures("E", {}),
        report.examples("E", []),
    ],
)
def test_empty_sections_are_drawn_as_such(section: Section) -> None:
    parsed(page_of(section))


@pytest.mark.parametrize("values", [[0.5], [0.0, 0.0], [-1.0, -3.0], [1e-9, 3e-9], [1e12, 2e12], [2e-5, 0.0]])
def test_curves_of_any_magnitude_stay_inside_the_frame(values: list[float]) -> None:
    section = report.curves("L", {"a": [[i, v] for i, v in enumerate(values)]}, x_label="x", y_label="y")
    points = " ".join(re.findall(r'<polyline points="([^"]*)"', charts.curves(section))).split()
    places = [tuple(map(float, point.split(","))) for point in points]
    assert len(places) == len(values)
    assert all(0 <= x <= svg.WIDTH and 0 <= y <= 300 for x, y in places)


def test_thinning_keeps_ends_few_points_and_every_peak() -> None:
    points: list[charts.Point] = [(i, 0.0) for i in range(10_000)]
    points[777] = (777, 9.0)
    points[778] = (778, -9.0)
    kept = charts.thinned(points)
    assert len(kept) <= charts.MOST_POINTS
    assert {(777, 9.0), (778, -9.0)} <= set(kept)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 1200, [0, 500, 1000, 1500]),
        (0.13, 0.87, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float, expected: list[float]) -> None:
    assert svg.nice_ticks(low, high, 4 if high > 1 else 5) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (22713216, "22,713,216"), (2e-5, "2e-05"), (-0.5, "−0.5"), (float("inf"), "—"), (3.0, "3"),
     (12345.6, "12,346"), (-4, "−4")],
)  # fmt: skip
def test_numbers_are_written_with_four_digits_at_most_and_grouped(value: float, text: str) -> None:
    assert markup.number(value) == text


def test_a_column_of_scores_has_equal_decimals_and_stands_right() -> None:
    html = tables.table_html(["F1", "name"], [[0.5, "a"], [1.0, "b"], [None, "c"]])
    assert re.findall(r'<td class="n">(.*?)</td>', html) == ["0.500", "1.000", '<span class="none">—</span>']


def test_row_shares_of_an_empty_row_are_zero() -> None:
    assert heatmap.row_shares([[0, 0], [1, 3]]) == [[0.0, 0.0], [0.25, 0.75]]


def test_warnings_stand_before_the_figures() -> None:
    html = page_of(warnings=["test: predicts only <b>"], headline={"accuracy": Figure(0.5)})
    assert html.index("test: predicts only &lt;b&gt;") < html.index("Accuracy")
    assert 'class="warnings"' not in page_of()


@pytest.mark.parametrize(("count", "listed"), [(12, False), (28, True), (150, True)])
def test_a_confusion_matrix_of_many_labels_fits_the_page_and_lists_its_pairs(count: int, listed: bool) -> None:
    names = [f"a label called {index}" for index in range(count)]
    values = np.eye(count, dtype=int) * 90
    values[0, 1] = 7
    html = page_of(report.matrix("Confusion", values, row_labels=names, column_labels=names))
    (drawing,) = (ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert float(drawing.attrib["width"]) <= 872
    assert ("most confused pairs" in html) == listed
    heads = [text for text in drawing.iter("text") if text.get("class") == "head"]
    assert len(heads) == (count if count <= heatmap.MOST_NUMBERED else 0)
    places = [float(head.attrib["x"]) for head in heads]
    # slanted lines of 13.5 units of type do not touch where they stand 13.5 * sqrt(2) apart
    assert all(right - left >= 13.5 * 2**0.5 for left, right in pairwise(places))


def test_cells_are_wide_enough_for_their_numbers() -> None:
    names = [str(index) for index in range(28)]
    html = page_of(report.matrix("M", np.full((28, 28), 9999), row_labels=names, column_labels=names))
    sides = {float(side) for side in re.findall(r'<rect x="[\d.]+" y="[\d.]+" width="([\d.]+)"', html)}
    assert min(sides) >= 4 * 7.0

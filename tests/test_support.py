"""The support matrix as people read it; that it is true is tests/test_contract.py's to say."""

from __future__ import annotations

import pytest

from nlptk.support import BEGIN, END, Cell, as_markdown, with_matrix

CELLS = [
    Cell("ner", "BERT", "full", None),
    Cell("ner", "T5", "full", None),
    Cell("ner", "BERT", "lp_ft", None),
    Cell("ner", "T5", "lp_ft", "no head"),
    Cell("qa", "BERT", "full", "an encoder"),
    Cell("qa", "T5", "full", "too short"),
    Cell("qa", "BERT", "lp_ft", "an encoder"),
    Cell("qa", "T5", "lp_ft", "no head"),
]


def test_the_table_names_the_families_that_go_and_the_reasons_of_the_others() -> None:
    assert as_markdown(CELLS).splitlines() == [
        "| task | full | lp_ft |",
        "|---|---|---|",
        "| ner | all | BERT [1] |",
        "| qa | none [2] [3] | none [1] [2] |",
        "",
        "1. no head",
        "2. an encoder",
        "3. too short",
    ]


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    assert with_matrix(f"above\n{BEGIN}\nold\n{END}\nbelow\n", "new") == f"above\n{BEGIN}\nnew\n{END}\nbelow\n"


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END} {BEGIN}"])
def test_a_page_without_both_markers_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="put them where the table belongs"):
        with_matrix(page, "new")

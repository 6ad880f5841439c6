"""Reports: `report.json` for machines, `report.html` for people, one self-contained file that opens offline.

A report is {"title", "subtitle", "warnings": [...], "headline": {name: {value, low, high}}, "primary": a headline name,
"sections": [...], "context": {...}}. Its sections are plain data, made by the builders below;
`nlptk.report.sections` documents the kinds.
"""

from nlptk.report.document import FORMAT, load_report, write_report
from nlptk.report.sections import (
    bars,
    checks,
    code,
    curves,
    examples,
    facts,
    figures,
    histogram,
    ledger,
    matrix,
    reliability,
    table,
)

__all__ = [
    "FORMAT",
    "bars",
    "checks",
    "code",
    "curves",
    "examples",
    "facts",
    "figures",
    "histogram",
    "ledger",
    "load_report",
    "matrix",
    "reliability",
    "table",
    "write_report",
]

"""A report on disk: report.json and report.html, written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlptk.errors import ArtifactError, NlptkError
from nlptk.nearest import did_you_mean
from nlptk.report.page import page
from nlptk.report.plain import plain
from nlptk.report.sections import check_section

FORMAT = 1
"""Version of report.json; raised when a key changes its meaning."""
JSON_NAME, HTML_NAME = "report.json", "report.html"
KEYS = ("title", "subtitle", "warnings", "headline", "primary", "context", "sections")


def write_report(folder: Path, report: Mapping[str, Any]) -> tuple[Path, Path]:
    """Writes report.json and report.html into the folder, made if need be, and returns their paths.

    report: title (required); subtitle; warnings: lines to be seen before any figure; headline: name ->
    {value, low, high}, a `Figure` or None for what was undefined;
    primary: the headline figure that model selection used; context: facts about the run; sections: see
    `nlptk.report.sections`. The same report gives the same bytes. Each file replaces its predecessor in one step.

    report.json holds {"format": 1} and these keys in this order, sections as documented, with None for what is missing.

    Raises:
        NlptkError: a section of an unknown kind or without its keys, an unknown key, a value without a JSON form.
    """
    state = checked_state(report)
    texts = {JSON_NAME: json.dumps(state, ensure_ascii=False, allow_nan=False, indent=1) + "\n", HTML_NAME: page(state)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        replace_text(folder / name, text)
    return folder / JSON_NAME, folder / HTML_NAME


def checked_state(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report as plain JSON values under all of its keys.

    Raises:
        NlptkError: as `write_report`.
    """
    for key in report:
        if key not in (*KEYS, "format"):
            raise NlptkError(f"report: unknown key {key!r}{did_you_mean(key, KEYS)}; expected {list(KEYS)}")
    given = plain(report)
    if not given.get("title"):
        raise NlptkError("report: no title; give report['title']")
    headline = {name: _figure_state(name, figure) for name, figure in (given.get("headline") or {}).items()}
    primary = given.get("primary")
    if primary is not None and primary not in headline:
        hint = did_you_mean(str(primary), headline)
        raise NlptkError(f"report: primary {primary!r} is no headline figure{hint}; expected one of {list(headline)}")
    sections = given.get("sections") or []
    for index, section in enumerate(sections):
        check_section(section, f"report, section {index}")
    return {
        "format": FORMAT,
        "title": given["title"],
        "subtitle": given.get("subtitle") or "",
        "warnings": given.get("warnings") or [],
        "primary": primary,
        "headline": headline,
        "context": given.get("context") or {},
        "sections": sections,
    }


def _figure_state(name: str, figure: Any) -> dict[str, float | None]:
    if figure is None:
        return {"value": None, "low": None, "high": None}
    if isinstance(figure, int | float):
        return {"value": figure, "low": None, "high": None}
    if not isinstance(figure, dict) or "value" not in figure:
        raise NlptkError(f"report: headline {name!r} is {figure!r}; expected a Figure or a dict with 'value'")
    return {key: figure.get(key) for key in ("value", "low", "high")}


def load_report(folder: Path) -> dict[str, Any]:
    """The report that `write_report` left in the folder, as plain values.

    Raises:
        ArtifactError: there is none, it is not JSON, or it has a format this version does not read.
    """
    path = folder / JSON_NAME
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no report here; `nlptk evaluate` writes one") from error
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON ({error}); write the report again") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != FORMAT:
        raise ArtifactError(f"{path}: format {found!r}; expected {FORMAT}; read it with the nlptk that wrote it")
    return dict(state)


def replace_text(path: Path, text: str) -> None:
    """Puts the text at the path in one step: a reader sees the old file or the new one, never a part."""
    # Not `tempfile`: its files are readable by their owner alone, and a report is as open as any other new file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

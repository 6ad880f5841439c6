"""Which column of a source plays which role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nlptk.errors import DataError
from nlptk.nearest import did_you_mean
from nlptk.task import Column


def check_mapping(mapping: Mapping[str, str], columns: Sequence[Column]) -> None:
    """Refuse a mapped role that the task does not have.

    Raises:
        DataError: names the role and the nearest one.
    """
    roles = [column.role for column in columns]
    for role, name in mapping.items():
        if role not in roles:
            hint = did_you_mean(role, roles)
            raise DataError(f"data.columns.{role}={name}: no such role{hint} (the task reads {', '.join(roles)})")


def resolve(
    columns: Sequence[Column],
    present: Sequence[str],
    *,
    mapping: Mapping[str, str],
    where: str,
    forms: Sequence[Sequence[str]] = (),
) -> dict[str, str]:
    """Role -> column name, for the roles that were found.

    forms: sets of roles, of which one must be found whole; () asks for none.

    A mapped role takes the column it names; any other takes the first of its conventional names that is present,
    letter case aside, and that no other role has taken.

    Raises:
        DataError: a required or mapped column is not there; lists what is.
    """
    found: dict[str, str] = {}
    for column in columns:
        if column.role in mapping:
            name = _same_name(mapping[column.role], present)
            if name is None:
                raise DataError(_mapped_missing(column.role, mapping[column.role], present, where))
            found[column.role] = name
    for column in columns:
        if column.role in found:
            continue
        free = [name for name in present if name not in found.values()]
        names = (_same_name(name, free) for name in column.names)
        name = next((name for name in names if name is not None), None)
        if name is not None:
            found[column.role] = name
        elif column.required:
            raise DataError(_missing(column, present, where))
    if forms and not any(set(form) <= set(found) for form in forms):
        wanted = ", or ".join(" and ".join(form) for form in forms)
        has = f"found {', '.join(found)}" if found else "found none of them"
        raise DataError(
            f"{where}: expected columns for {wanted}; {has}; the columns are {_listed(present)}; "
            "set data.columns.<role>=<name>"
        )
    if columns and not found:
        roles = ", ".join(column.role for column in columns)
        raise DataError(
            f"{where}: no column for any of {roles}; the columns are {_listed(present)}; set data.columns.<role>=<name>"
        )
    return found


def same_column(name: str, present: Sequence[str], *, where: str, setting: str) -> str:
    """The present column of that name, letter case aside.

    Raises:
        DataError: there is none.
    """
    found = _same_name(name, present)
    if found is None:
        hint = did_you_mean(name, present)
        raise DataError(f"{where}: no column {name!r} ({setting}={name}){hint}; the columns are {_listed(present)}")
    return found


def _same_name(name: str, present: Sequence[str]) -> str | None:
    if name in present:
        return name
    folded = name.strip().casefold()
    return next((other for other in present if other.strip().casefold() == folded), None)


def _mapped_missing(role: str, name: str, present: Sequence[str], where: str) -> str:
    hint = did_you_mean(name, present)
    return f"{where}: no column {name!r} (data.columns.{role}={name}){hint}; the columns are {_listed(present)}"


def _missing(column: Column, present: Sequence[str], where: str) -> str:
    hint = did_you_mean(column.role, present)
    looked = ", ".join(column.names)
    message = f"{where}: no column for {column.role!r} (looked for {looked}){hint}; the columns are {_listed(present)}"
    cure = f"set data.columns.{column.role}=<name>"
    if len(present) == 1 and (mark := next((m for m in (";", "\t", "|") if m in present[0]), "")):
        cure = f"the fields seem to be separated by {mark!r}: separate them by commas, or by tabs in a .tsv"
    return f"{message}; {cure}"


def _listed(present: Sequence[str]) -> str:
    shown = ", ".join(map(repr, present[:20]))
    return f"{shown} and {len(present) - 20} more" if len(present) > 20 else shown or "none"

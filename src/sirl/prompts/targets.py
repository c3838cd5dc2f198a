"""Reads the beginnings of compliant answers, which prefills and searches aim at."""

from pathlib import Path

from sirl.errors import InputError
from sirl.prompts.files import ID_KEYS, folded, load, shown, text_fault
from sirl.prompts.reading import first
from sirl.prompts.tables import object_rows

__all__ = ["read_targets"]


def read_targets(path: Path) -> dict[str, str]:
    """Read openers of compliant answers from rows of behavior_id and target, by behaviour id.

    Raises:
        InputError: The file cannot be read, a row lacks behavior_id or target, or a behaviour has
            two targets.
    """
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for row in object_rows(load(path, "target")):
        fields, fault = folded(row.fields)
        name, text = first(fields, ID_KEYS[1:3]), fields.get("target", ("", None))[1]
        if not (fault := row.fault or fault) and (not name or not isinstance(text, str)):
            fault = "behavior_id or target is missing"
        if not fault and name in found:
            fault = f"{shown(name)!r} already has a target in line {lines[name]}"
        if fault := fault or text_fault(name + text).replace("the prompt", "the row"):
            raise InputError(f"{path}:{row.line}: {fault}; fix the row")
        if not text.strip():
            raise InputError(f"{path}:{row.line}: behavior_id or target is missing; fix the row")
        found[name], lines[name] = text, row.line
    return found

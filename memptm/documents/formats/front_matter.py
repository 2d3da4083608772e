"""YAML front matter: what stands between two lines of dashes at the beginning of a text, as metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import yaml

_END = r"(?>\r\n?|\n)"  # one way to read a line's end: with two, time doubles with each line
_FRONT_MATTER = re.compile(rf"---[ \t]*{_END}(?P<yaml>(?:[^\r\n]*{_END})*?)(?:---|\.\.\.)[ \t]*(?:{_END}|$)")
_LONGEST = 20_000  # characters


def read(text: str) -> tuple[int, Mapping[str, Any]]:
    """(where the text proper begins, the fields as JSON values); (0, {}) where there are none."""
    found = _FRONT_MATTER.match(text)
    if found is None or found.end() > _LONGEST:
        return 0, {}
    try:
        fields = yaml.safe_load(found["yaml"])
    except (yaml.YAMLError, ValueError, RecursionError):
        return found.end(), {}
    if not isinstance(fields, dict):
        return (found.end(), {}) if fields is None else (0, {})
    return found.end(), {str(name): _json(value) for name, value in fields.items() if value is not None}


def _json(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple | set):
        return [_json(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _json(one) for name, one in value.items()}
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)

"""CSV and TSV: a record a row, whatever its delimiter."""

from __future__ import annotations

import csv
import io
import sys

from memptm.documents.draft import Draft, Extracted
from memptm.documents.tables import add_table

_DELIMITERS = ",;\t|"
_SAMPLE = 1 << 16


def read(text: str, *, delimiter: str = "") -> Extracted:
    """Its rows as records. Cells may be of any size and hold line ends; a row's number counts records, the header as 1.

    Args:
        delimiter: "" finds it; a line ``sep=;`` at the start names it, as Excel writes.
    """
    if text[:4].lower() == "sep=" and text[5:6] in ("\n", "\r"):
        delimiter, text = text[4], text[5:].lstrip("\r\n")
    before = csv.field_size_limit(sys.maxsize)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or _delimiter(text)))
    finally:
        csv.field_size_limit(before)
    draft = Draft()
    add_table(draft, rows)
    return draft.finish()


def _delimiter(text: str) -> str:
    sample = text[:_SAMPLE]
    try:
        return csv.Sniffer().sniff(sample.split("\n\n")[0], delimiters=_DELIMITERS).delimiter
    except csv.Error:
        return max(_DELIMITERS, key=sample.split("\n", 1)[0].count)

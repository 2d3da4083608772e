"""RTF: its text; the title from its properties."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from memptm.documents.draft import Draft, Extracted, property_title
from memptm.documents.file import File
from memptm.documents.tables import add_table

_TITLE = re.compile(r"\{\\title ([^{}]{1,300})\}")


def read(file: File) -> Iterator[Extracted]:
    """One document; rows of a table, which the library parts by bars, become records."""
    from striprtf import striprtf

    rtf_to_text: Callable[..., str] = striprtf.rtf_to_text
    raw = file.data.decode("latin-1")
    text = rtf_to_text(raw, errors="replace")
    draft = Draft()
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.rstrip().endswith("|"):
            rows.append([cell.strip() for cell in line.rstrip()[:-1].split("|")])
            continue
        add_table(draft, rows)
        rows = []
        draft.add(line.strip(), joint="\n")
    title = _TITLE.search(raw)
    yield draft.finish(title=property_title(rtf_to_text("{\\rtf1 " + title[1] + "}")) if title else "")

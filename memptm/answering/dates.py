"""What an answer such as "yesterday" meant."""

from __future__ import annotations

from dataclasses import replace

from memptm.documents import times
from memptm.types import Answer


def resolve_relative_date(answer: Answer) -> Answer:
    """``answer`` with the date that its words ("yesterday") meant, where its passage has the time they were said at."""
    if answer.text is None or not answer.evidence:
        return answer
    metadata = answer.evidence[0].passage.metadata
    found = times.meant(answer.text, metadata)
    if found is None:
        return answer
    said = metadata.get(times.WRITTEN, metadata[times.TIME])
    note = f"“{found.said}” means {found.words}: it was said at {said}."
    return replace(answer, when=found.iso, note=f"{answer.note} {note}".strip())

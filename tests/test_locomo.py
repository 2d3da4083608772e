"""The scoring of scripts/data/locomo.py, as the benchmark defines it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def locomo() -> ModuleType:
    pytest.importorskip("snowballstemmer", reason="needs snowballstemmer, an extra of dev")
    return import_module("scripts.data.locomo")


@pytest.mark.parametrize(
    ("prediction", "category", "answer", "score"),
    [
        ("painted the sunrises", 4, "Painting a sunrise", 1.0),  # stems, articles
        ("7 May 2023", 2, "7 May, 2023", 1.0),
        ("May 2023", 2, "7 May 2023", 0.8),
        ("pottery, camping", 1, "pottery, camping, swimming", 2 / 3),  # the mean over the answer's parts
        ("camping and pottery", 1, "pottery, camping", 2 / 3),  # one part given: half right for each
        ("Likely no", 3, "Likely no; she wants to be a counselor", 1.0),
        ("something", 5, None, 0.0),
        (None, 5, None, 1.0),
        (None, 4, "a fence", 0.0),
        ("fence", 4, "door", 0.0),
    ],
)
def test_an_answer_scores_as_in_the_benchmark(
    locomo: ModuleType, prediction: str | None, category: int, answer: str | None, score: float
) -> None:
    assert locomo.score(prediction, {"category": category, "answer": answer}) == pytest.approx(score)


@pytest.mark.data
def test_the_conversations_become_documents_whose_passages_are_turns(locomo: ModuleType, data: Path) -> None:
    from memptm.documents.split import split

    documents = locomo.documents(data)
    assert len(documents) == 5
    passages = split(documents[0])
    assert (passages[0].id, passages[0].metadata["time"]) == ("D1:1", "2023-05-08T13:56:00")
    known = {passage.id.partition("#")[0] for passage in passages}
    asked = [one for one in locomo.questions(data) if one["conversation"] == documents[0].id]
    assert sum(turn in known for one in asked for turn in one["evidence"]) >= 0.99 * sum(
        len(one["evidence"]) for one in asked
    )

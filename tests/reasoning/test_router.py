"""The router: features of a question and the reader's answer, a logistic model over them, no model run."""

import json
from dataclasses import replace

import pytest

from memptm.errors import ModelMissing
from memptm.memory.titles import Titles
from memptm.reasoning.router import FEATURES, Router, features
from memptm.types import Answer, Candidate, Evidence, Hit, Passage

PLACE = Passage(id="p", document="p", text="Otter Review was founded in Leeds.", start=0, end=34, title="Otter Review")
HITS = [Hit(passage=PLACE, score=0.8, similarity=0.8), Hit(passage=PLACE, score=0.4, similarity=0.4)]


def answer(text, probability):
    candidates = (Candidate(text=text or "Leeds", probability=probability),)
    evidence = (Evidence(passage=PLACE, prior=1.0, posterior=1.0),) if text else ()
    return Answer(
        question="", text=text, probability=probability, method="reader", answers=candidates, evidence=evidence
    )


def test_features_are_read_off_what_is_there():
    got = features("Where was Otter Review founded?", answer("Leeds", 0.9), HITS, Titles([]))
    assert got["unsure"] == pytest.approx(0.1)
    assert (got["silent"], got["apart"], got["choice"], got["near"]) == (0.0, 0.0, 0.0, 0.5)
    hard = features(
        "Is the editor who left Otter Review older than the one that Lynx Journal hired?",
        answer(None, 0.1),
        HITS,
        Titles([]),
    )
    assert (hard["silent"], hard["apart"], hard["choice"]) == (1.0, 0.5, 1.0)
    assert hard["nested"] > got["nested"]
    assert set(got) == set(FEATURES)


def test_without_hits_or_names_there_are_features_all_the_same():
    away = [replace(HITS[0], score=0.001), replace(HITS[1], score=-0.5)]
    assert features("Who?", answer(None, 0.0), away, Titles([]))["near"] == 0.0
    got = features("does it rain?", answer(None, 0.0), [], Titles([]))
    assert all(0 <= value <= 1 for value in got.values())


def test_the_probability_is_the_logistic_of_the_weighted_sum(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"weights": dict.fromkeys(FEATURES, 0.0) | {"unsure": 2.0}, "bias": -1.0}))
    router = Router.load(path)
    assert router.probability("Where?", answer("Leeds", 0.5), HITS, Titles([])) == pytest.approx(0.5)


@pytest.mark.parametrize("text", ["", "{}", '{"weights": {"unsure": 1}, "bias": 0}', '{"weights": 3, "bias": 0}'])
def test_a_config_that_is_none_is_refused(text, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ModelMissing, match="calibrate_router"):
        Router.load(path)


def test_the_shipped_router_sends_a_plain_question_to_the_reader_and_a_nested_one_on():
    router = Router.load()
    plain = router.probability("Where was Otter Review founded?", answer("Leeds", 0.95), HITS, Titles([]))
    nested = router.probability(
        "In which town was the founder of the journal that Ida Moss of Lynx Journal's board edited born?",
        answer(None, 0.05), HITS, Titles([]),
    )  # fmt: skip
    assert plain < 0.5 < nested

"""QA: what is asked, read and answered, with the packaged models and a small real index."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from memptm import QA, Answer, Document, Evidence, Memory, Passage, Session
from memptm.answering.asked import MAX_QUESTION
from memptm.answering.citations import find_answer, from_marginal
from memptm.answering.dates import resolve_relative_date
from memptm.errors import InputError
from memptm.generation.generator import ADAPTER, Generator
from memptm.generation.rag import Marginal
from tests.generation.tiny import TEMPLATE, causal, loaded

WHO = "Who built the lighthouse at Cape Morrow?"
LAMP = "When was the oil lamp replaced?"
ABSENT = "What is the boiling point of tungsten hexafluoride?"


@pytest.fixture(scope="module")
def qa(index: Path) -> QA:
    return QA(Memory.open(index))


def test_an_answer_comes_with_the_passage_that_says_so(qa: QA) -> None:
    answer = qa(WHO)
    assert answer.text is not None
    assert "Ada Trent" in answer.text
    first = answer.evidence[0]
    assert Path(first.passage.source).name == "lighthouse.txt"
    assert first.answer_span is not None
    assert answer.text in first.passage.text[slice(*first.answer_span)]
    assert 0 < answer.probability <= 1
    assert sum(candidate.probability for candidate in answer.answers) <= 1 + 1e-6
    assert [one.posterior for one in answer.evidence] == sorted(
        (one.posterior for one in answer.evidence), reverse=True
    )


def test_what_is_not_there_is_said_not_to_be_there_without_evidence(qa: QA) -> None:  # F75
    answer = qa(ABSENT)
    assert answer.text is None
    assert str(answer) == "Not in memory."
    assert answer.evidence == ()


def test_a_batch_gives_what_each_question_alone_gives(qa: QA) -> None:
    questions = [WHO, ABSENT, LAMP, WHO]
    for alone, together in zip([qa(question) for question in questions], qa.batch(questions), strict=True):
        assert alone.text == together.text
        assert alone.probability == pytest.approx(together.probability, abs=1e-2)
    assert qa.batch([]) == []


def test_a_filter_is_applied_before_reading(qa: QA) -> None:
    answer = qa("Where does the fern grow?", where="kind = 'fern'")
    assert answer.text is not None
    assert "bogs" in answer.text
    assert {one.passage.title for one in answer.evidence} == {"Fern"}
    nothing = qa(WHO, where="kind = 'moss'")
    assert (nothing.text, nothing.probability, nothing.evidence) == (None, 1.0, ())
    assert nothing.note


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_passages_are_searched_as_asked_and_priors_are_probabilities(qa: QA, mode: str) -> None:
    assert qa.memory is not None
    answer = QA(qa.memory, mode=mode, reader=qa.reader)(WHO, k=3)  # type: ignore[arg-type]
    assert answer.text is not None
    assert "Ada Trent" in answer.text
    hits = qa.memory.search(WHO, k=3, mode=mode)  # type: ignore[arg-type]
    # BM25's own scores have no common scale: by words alone, p(z | x) is made of cosines.
    log_prior = qa.reader.log_prior([hit.similarity if mode == "lexical" else hit.score for hit in hits])
    priors = {hit.passage.id: math.exp(one) for hit, one in zip(hits, log_prior, strict=True)}
    assert {one.passage.id: one.prior for one in answer.evidence} == pytest.approx(priors)
    with pytest.raises(InputError, match="Unknown mode"):
        QA(qa.memory, mode="fuzzy")(WHO)  # type: ignore[arg-type]


def test_an_empty_memory_has_no_answer(tmp_path: Path) -> None:
    answer = QA(Memory.open(tmp_path / "index", create=True))(WHO)
    assert (answer.text, answer.probability) == (None, 1.0)


def test_a_long_text_in_hand_is_read_to_its_end_and_offsets_are_its_own() -> None:
    text = "The weather was fair that day. " * 400 + "The bell of Orme weighs nine tons. " + "Then it rained. " * 100
    answer = QA().read("How much does the bell of Orme weigh?", text)
    assert answer.text is not None
    assert "nine tons" in answer.text
    span = answer.evidence[0].answer_span
    assert span is not None
    start = answer.evidence[0].passage.start
    assert text[start + span[0] : start + span[1]] == answer.text


@pytest.mark.parametrize("method", ["reader", "generate"])
def test_a_text_in_hand_is_read_by_recall_or_whole(method: str, tmp_path: Path) -> None:
    text = "The weather was fair that day. " * 400 + "The bell of Orme weighs nine tons. " + "Then it rained. " * 100
    documents = [Document(text=text, id="bell", title="Bells"), Document(text="Nothing here.", id="other")]
    generator = Scripted("nine tons", {"Bells": -1.0, "": -3.0})
    qa = QA(method=method, judge="bm25", generator=generator)  # type: ignore[arg-type]
    for recall in (True, False):
        answer = qa.read("How much does the bell of Orme weigh?", documents, recall=recall)
        assert answer.text is not None
        assert "nine tons" in answer.text
        first = answer.evidence[0]
        assert first.passage.document == "bell"
        assert text[first.passage.start : first.passage.end] == first.passage.text
        assert first.answer_span is not None
        assert answer.text in first.passage.text[slice(*first.answer_span)]
    assert qa.read(WHO, [Document(text=" ")]).text is None


def test_retrieved_passages_are_read_by_recall_alone_and_in_batches(index: Path) -> None:
    qa = QA(Memory.open(index), recall=True, judge="bm25")
    answer = qa(WHO)
    assert answer.text is not None
    assert "Ada Trent" in answer.text
    assert Path(answer.evidence[0].passage.source).name == "lighthouse.txt"
    assert sum(one.prior for one in answer.evidence) == pytest.approx(1)
    together = qa.batch([LAMP, WHO])[1]
    assert (together.text, together.probability) == (answer.text, pytest.approx(answer.probability, abs=1e-2))
    assert qa(WHO, where="kind = 'moss'").text is None


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_in_hand_has_no_answer(text: str) -> None:
    assert QA().read(WHO, text).text is None


@pytest.mark.parametrize("question", ["", " \t\n", "\0", "w" * (MAX_QUESTION + 1)])
def test_an_empty_or_overlong_question_is_refused_before_anything_is_loaded(question: str, index: Path) -> None:
    qa = QA(Memory.open(index), reader="no-such-reader")
    for ask in (lambda: qa(question), lambda: qa.batch([WHO, question]), lambda: qa.read(question, "text")):
        with pytest.raises(InputError, match="question"):
            ask()


def test_what_is_no_text_in_a_question_is_replaced(qa: QA) -> None:
    question = WHO.replace("?", "\udce9?")
    for answer in (qa(question), *qa.batch([question]), qa.read(question, "Ada Trent built the lighthouse.")):
        assert answer.question == question.replace("\udce9", "\ufffd")
        assert answer.text is not None
        assert "Ada Trent" in answer.text


def test_other_mistakes_are_refused(qa: QA) -> None:
    with pytest.raises(InputError, match="reader, generate"):
        QA(method="magic")
    with pytest.raises(InputError, match="no memory"):
        QA()(WHO)
    with pytest.raises(InputError, match="k is 0"):
        qa(WHO, k=0)


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        ("Ada Trent", "by ada  trent.", "ada  trent"),
        ("1871", "18710 and 1871", "1871"),
        ("Ada Trent.", "by Ada Trent, who", "Ada Trent"),
        ("nine tons", "nine\ntons", "nine\ntons"),
        ("东京", "他在东京都工作", "东京"),
        ("C++", "uses C++, C", "C++"),
        ("Ada", "Adamant", None),
        ("...", "etc.", None),
        ("", "text", None),
        ("İstanbul", "🙂 in İstanbul", "İstanbul"),
    ],
)
def test_an_answer_is_found_in_a_text_as_whole_words(answer: str, text: str, found: str | None) -> None:
    span = find_answer(answer, text)
    assert (None if span is None else text[slice(*span)]) == found


def test_documents_that_disagree_are_both_evidence_and_both_in_the_distribution(tmp_path: Path) -> None:  # F34
    memory = Memory.open(tmp_path / "index", create=True)
    memory.add(
        [
            Document(text="2019: the office is in Bern.", source="old.txt"),
            Document(text="2024: the office moved to Basel.", source="new.txt"),
        ]
    )
    answer = QA(memory)("Where is the office?")
    assert {one.passage.source for one in answer.evidence} == {"old.txt", "new.txt"}
    said = " ".join(candidate.text for candidate in answer.answers)
    assert "Bern" in said
    assert "Basel" in said


def test_an_answer_that_overlapping_passages_share_is_one_answer(tmp_path: Path) -> None:  # F66
    text = "Many boats came by that day, and one of them was green. The kiosk opens at nine every morning. "
    memory = Memory.open(tmp_path / "index", create=True)
    memory.add([Document(text=text + "Then it rains, and nobody comes to buy a paper.")], words=20, overlap=15)
    answer = QA(memory)("When does the kiosk open?")
    keys = [candidate.text.lower() for candidate in answer.answers]
    assert len(keys) == len(set(keys))
    assert sum(candidate.probability for candidate in answer.answers) <= 1 + 1e-6
    assert sum(one.answer_span is not None for one in answer.evidence) >= 2


@dataclass(frozen=True)
class Said:
    """What a generator hands back."""

    text: str | None
    probability: float
    null_probability: float
    read: tuple[Passage, ...]


class Scripted:
    """A generator whose numbers are known: it reads all but the last passage."""

    def __init__(self, text: str | None, likelihoods: dict[str, float]) -> None:
        self.text, self.likelihoods = text, likelihoods

    def generate(
        self, question: str, passages: Sequence[Passage], *, null_log_odds: float = 0.0, stream: object = None
    ) -> Said:
        return Said(self.text, 0.7, 0.2, tuple(passages[:-1]))

    def generate_batch(
        self, questions: Sequence[str], passages_lists: Sequence[Sequence[Passage]], *, null_log_odds: object = None
    ) -> list[Said]:
        return [self.generate(*pair) for pair in zip(questions, passages_lists, strict=True)]

    def log_likelihoods(
        self, questions: Sequence[str], passages: Sequence[Sequence[Passage]], answers: Sequence[str]
    ) -> list[float]:
        return [self.likelihoods[one.title] for (one,) in passages]


def test_a_generated_answer_cites_what_was_read_by_prior_times_likelihood(index: Path) -> None:  # F74
    memory = Memory.open(index)
    hits = memory.search(WHO, k=4)
    likelihoods = {hit.passage.title: -2.0 if n else -4.0 for n, hit in enumerate(hits)}
    generator = Scripted("ada trent", likelihoods)
    qa = QA(memory, method="generate", generator=generator)  # type: ignore[arg-type]
    answer = qa(WHO, k=4)
    prior = [math.exp(log) for log in qa.reader.log_prior([hit.score for hit in hits])]
    joint = {
        hit.passage.id: p * math.exp(likelihoods[hit.passage.title]) for p, hit in zip(prior, hits[:-1], strict=False)
    }
    assert sum(prior) == pytest.approx(1)
    assert {one.passage.id for one in answer.evidence} == set(joint)
    for one in answer.evidence:
        assert one.posterior == pytest.approx(joint[one.passage.id] / sum(joint.values()))
        assert (one.answer_span is not None) == ("Ada Trent" in one.passage.text)
    assert (answer.text, answer.probability, answer.method) == ("ada trent", 0.7, "generate")
    assert qa.batch([WHO], k=4) == [answer]


def test_a_generator_that_finds_nothing_answers_nothing(index: Path) -> None:
    qa = QA(Memory.open(index), method="generate", generator=Scripted(None, {}))  # type: ignore[arg-type]
    answer = qa(WHO)
    assert (answer.text, answer.probability, answer.evidence) == (None, 0.2, ())


@pytest.mark.parametrize("method", ["rag-sequence", "rag-token"])
def test_rag_cites_by_the_posterior_and_answers_alike_in_batches(index: Path, tmp_path: Path, method: str) -> None:
    generator = loaded(causal(tmp_path, window=1024, template=TEMPLATE))
    generator.null_threshold = 2.0  # never silent: a random model's words are judged here
    qa = QA(Memory.open(index), method=method, generator=generator)
    answer = qa(WHO, k=3)
    assert answer.method == method
    assert answer.answers[0].text == answer.text
    assert [one.posterior for one in answer.evidence] == sorted((e.posterior for e in answer.evidence), reverse=True)
    assert sum(one.prior for one in answer.evidence) == pytest.approx(1)
    assert 0 < sum(one.posterior for one in answer.evidence) <= 1 + 1e-6
    assert [one.text for one in qa.batch([WHO, LAMP], k=3)] == [answer.text, qa(LAMP, k=3).text]
    assert qa.read(WHO, "The tower was built by Ada Trent.").method == method


def test_rag_says_so_where_the_model_needs_no_passage(index: Path) -> None:
    marginal = Marginal(text="1934", probability=0.4, null_probability=0.1, null_posterior=0.8)
    assert "without the passages" in from_marginal(LAMP, [], marginal, method="rag-token").note
    nothing = Marginal(text=None, probability=0.9, null_probability=0.9)
    assert (
        from_marginal(LAMP, [], nothing, method="rag-token").text,
        from_marginal(LAMP, [], nothing, method="rag-token").probability,
    ) == (None, 0.9)


@pytest.mark.slow
@pytest.mark.skipif(not (ADAPTER / "adapter_config.json").is_file(), reason="no adapter of the generator is shipped")
@pytest.mark.parametrize("question", ["What is the capital of Norway?", "When was Balthazar Quimby born?"])
def test_a_generator_does_not_answer_from_its_own_knowledge(index: Path, question: str) -> None:  # F75
    answer = QA(Memory.open(index), method="generate")(question, k=2)
    assert (answer.text, answer.evidence) == (None, ())
    assert answer.probability > 0.5


@pytest.mark.slow
def test_the_packaged_generator_answers_from_the_index_and_from_a_text(index: Path) -> None:
    qa = QA(Memory.open(index), method="generate")
    pieces: list[str] = []
    answer = qa(LAMP, k=2, stream=pieces.append)
    assert answer.text is not None
    assert "1934" in answer.text
    assert answer.text in "".join(pieces)
    assert Path(answer.evidence[0].passage.source).name == "lighthouse.txt"
    assert sum(one.posterior for one in answer.evidence) == pytest.approx(1)
    assert qa.batch([LAMP], k=2)[0].text == answer.text
    in_hand = qa.read("When does the ghost orchid flower?", "The ghost orchid flowers in July.")
    assert in_hand.text is not None
    assert "July" in in_hand.text


def test_an_answer_such_as_yesterday_carries_the_date_it_meant(tmp_path: Path) -> None:
    turns = [
        ("D1:1", "Ann", "1:56 pm on 8 May, 2023", "I painted the garden fence yesterday, and my back hurts."),
        ("D1:2", "Bo", "1:56 pm on 8 May, 2023", "Well done! I read a book about otters."),
    ]
    keys = ("id", "speaker", "time", "text")
    lines = [json.dumps({"conversation": "c", **dict(zip(keys, turn, strict=True))}) for turn in turns]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    memory = Memory.open(tmp_path / "index", create=True)
    memory.add(str(tmp_path / "c.jsonl"))
    answer = QA(memory)("When did Ann paint the fence?")
    assert answer.text is not None
    assert "yesterday" in answer.text
    assert answer.when == answer.to_json()["when"] == "2023-05-07"
    assert answer.note == "“yesterday” means 7 May 2023: it was said at 1:56 pm on 8 May, 2023."
    assert QA(memory).batch(["When did Ann paint the fence?"])[0].when == "2023-05-07"


@pytest.mark.parametrize(
    ("text", "metadata"),
    [
        (None, {"time": "2023-05-08"}),
        ("in May", {"time": "2023-05-08"}),
        ("yesterday", {}),
        ("yesterday", {"time": 5}),
        ("yesterday", {"time": "2023-05-07 approx"}),
    ],
)
def test_other_answers_are_left_as_they_are(text: str | None, metadata: dict[str, object]) -> None:
    passage = Passage(id="p", document="p", text="It was yesterday.", start=0, end=17, metadata=metadata)
    evidence = (Evidence(passage=passage, prior=1.0, posterior=1.0),)
    answer = Answer(question="When?", text=text, probability=0.5, method="reader", evidence=evidence)
    assert resolve_relative_date(answer) is answer
    assert "when" not in answer.to_json()


def test_a_generator_hears_what_was_said_in_the_session(index: Path, tmp_path: Path) -> None:
    generator = loaded(causal(tmp_path, template=TEMPLATE))
    memory = Memory.open(index)
    session = Session(memory)
    session.add(WHO, Answer(question=WHO, text="Ada Trent", probability=1.0, method="generate"))
    heard = []
    after = generator.after

    def listening(said: Sequence[tuple[str, str]]) -> Generator:
        heard.append(tuple(said))
        return after(said)

    generator.after = listening  # type: ignore[method-assign]
    for method in ("generate", "rag-token"):
        QA(memory, method=method, generator=generator)("How tall is it?", k=2, session=session)
    assert heard[0] == ((WHO, "Ada Trent"),)
    assert session.asked == 3

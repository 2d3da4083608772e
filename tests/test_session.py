"""A conversation with a memory: what was said bears on what is asked next, and outlives the process."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from memptm import QA, Answer, Document, Memory
from memptm.encoders.base import Recurrent
from memptm.errors import InputError
from memptm.memory.conversation import Conversation, NewTurn
from memptm.memory.encode import unit
from memptm.session import KEPT, TURN_WORDS, Exchange, Session, has_anaphora, with_turns
from tests.encoders.tiny_recurrent import recurrent
from tests.memory.toy import Toy
from tests.naive import assert_near, resident_kib

TEXTS = (
    "Ada Trent built the lighthouse at Cape Morrow in 1871.",
    "The lighthouse at Cape Morrow stands 43 metres tall.",
    "The royal fern grows in bogs.",
)


class Remembers(Toy):
    """A small recurrent encoder: its state is a fading sum of what it read, and half of a question's query."""

    class State:
        def __init__(self, sum_):
            self.sum = sum_

        def tensors(self):
            return {"sum": torch.from_numpy(self.sum)}

    def read(self, text, past):
        key = self.encode_passages([text])
        return key, self.State(key if past is None else key + past.sum / 2)

    def ask(self, question, past):
        query = self.encode_questions([question])
        return query if past is None else query + past.sum

    def past(self, tensors):
        return self.State(tensors["sum"].numpy())


def said(question, text):
    return Answer(question=question, text=text, probability=0.9, method="reader")


def made(path, encoder):
    memory = Memory.open(path, create=True, encoder=encoder)
    memory.add([Document(text=text) for text in TEXTS])
    return memory


@pytest.fixture
def memory(tmp_path):
    return made(tmp_path / "index", Toy())


@pytest.fixture
def file(tmp_path):
    return tmp_path / "kept" / "chat.session"


def test_the_first_question_is_asked_as_if_there_were_no_session(memory):
    question = "Who built it there?"
    asked = Session(memory).follow_up(question)
    assert_near(asked.vectors, unit(memory.encoder.encode_questions([question])))
    assert (asked.words, asked.query.whole, asked.history) == (question, question, ())


def test_a_follow_ups_query_is_the_mean_of_its_own_and_that_of_the_turns_before_it(memory):
    session = Session(memory)
    session.add("Who built the lighthouse?", said("", "Ada Trent"))
    session.add("What is a fern?", said("", None))
    alone, after = memory.encoder.encode_questions(
        ["How tall is it?", "Who built the lighthouse?\nAda Trent\nWhat is a fern?\nHow tall is it?"]
    )
    expected = (alone + after) / np.linalg.norm(alone + after)
    np.testing.assert_allclose(session.follow_up("How tall is it?").vectors[0], expected, atol=1e-6)


def test_words_and_reading_take_the_last_exchange_where_the_question_leans_on_it(memory):
    session = Session(memory)
    session.add("Who keeps ferns?", said("", "Bo"))
    session.add("Who built the lighthouse?", said("", "Ada Trent"))
    leaning = session.follow_up("How tall is it?")
    assert leaning.words == "How tall is it? Who built the lighthouse? Ada Trent"
    assert leaning.query.whole == "Ada Trent. How tall is it?"
    assert leaning.history == (("Who keeps ferns?", "Bo"), ("Who built the lighthouse?", "Ada Trent"))
    alone = session.follow_up("Where does the fern grow?")
    assert alone.words == alone.query.whole == "Where does the fern grow?"


@pytest.mark.parametrize(
    ("question", "leans"),
    [("When did she leave?", True), ("What else?", True), ("Is THAT so?", True), ("Who built Sheffield?", False)],
)
def test_a_question_has_anaphora_if_a_word_stands_for_it(question, leans):
    assert has_anaphora(question) is leans


def test_a_long_turn_is_cut_and_old_turns_go_before_the_question_does():
    encoder = Toy(max_tokens=100)
    text = with_turns("Why?", ["word " * 500, "old " * 30, "new " * 30, "newest"], encoder)
    assert text.endswith("\nWhy?")
    assert encoder.count_tokens([text])[0] <= 100
    assert "word" not in text
    assert "newest" in text
    assert with_turns("Why? " * 200, ["turn"], encoder) == "Why? " * 200
    assert with_turns("Why?", ["w " * 500], Toy(max_tokens=1000)).count("w ") == TURN_WORDS - 1


def test_a_follow_up_finds_what_the_question_alone_does_not(memory):
    def first(session):
        asked = session.follow_up("How tall is it?")
        return memory.search(asked.words, k=1, queries=asked.vectors)[0].passage.text

    session = Session(memory)
    session.add("Who wrote of the royal fern in bogs?", said("", None))
    assert first(session) == TEXTS[2]
    session.add("Who built the lighthouse at Cape Morrow?", said("", "Ada Trent"))
    session.add("Where does the lighthouse at Cape Morrow stand?", said("", None))
    assert "lighthouse" in first(session)


def test_a_session_survives_its_process(memory, file):
    session = Session.open(memory, file)
    session.add("Who built the lighthouse?", said("", "Ada Trent"))
    again = Session.open(memory, file)
    assert again.exchanges == session.exchanges
    assert again.exchanges[0] == Exchange(
        question="Who built the lighthouse?", answer="Ada Trent", time=again.exchanges[0].time
    )
    assert again.asked == 1
    assert_near(again.follow_up("How tall is it?").vectors, session.follow_up("How tall is it?").vectors)


def test_a_recurrent_encoder_reads_what_is_said_and_its_state_survives(tmp_path, file):
    memory = made(tmp_path / "recurrent", Remembers())
    assert isinstance(memory.encoder, Recurrent)
    assert not isinstance(Toy(), Recurrent)
    session = Session.open(memory, file)
    session.add("Who built the lighthouse?", said("", "Ada Trent"))
    again = Session.open(memory, file)
    again.add("And the fern?", said("", None))
    encoder, past = memory.encoder, None
    for turn in ("Who built the lighthouse?", "Ada Trent", "And the fern?"):
        _, past = encoder.read(turn, past)
    expected = unit(encoder.ask("Who built the mill?", past))
    np.testing.assert_allclose(again.follow_up("Who built the mill?").vectors, expected, atol=1e-6)
    turns = ["Who built the lighthouse?", "Ada Trent", "And the fern?"]
    written = unit(encoder.encode_questions([with_turns("Where is it?", turns, encoder)]))
    both = unit(unit(encoder.ask("Where is it?", past)) + written)
    np.testing.assert_allclose(again.follow_up("Where is it?").vectors, both, atol=1e-6)
    again.clear()
    assert_near(Session.open(memory, file).follow_up("Where?").vectors, unit(encoder.ask("Where?", None)))


@pytest.mark.parametrize("damage", ["cut", "length", "zeros", "header"])
def test_a_damaged_file_costs_the_session_and_is_kept_aside(memory, file, damage):
    Session.open(memory, file).add("Who?", said("", "Ada"))
    whole = file.read_bytes()
    file.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "length": b"\xff" * 8 + whole[8:],
            "zeros": whole[:60] + bytes(len(whole) - 60),
            "header": whole.replace(b"asked", b"asket"),
        }[damage]
    )
    broken = file.read_bytes()
    before = {path: path.read_bytes() for path in memory.path.rglob("*") if path.is_file()}
    with pytest.warns(UserWarning, match=r"damaged .* kept as chat\.session\.damaged, and the session begins anew"):
        session = Session.open(memory, file)
    assert session.exchanges == ()
    assert file.with_name("chat.session.damaged").read_bytes() == broken
    session.add("Who?", said("", "Ada"))
    assert Session.open(memory, file).asked == 1
    assert before == {path: path.read_bytes() for path in memory.path.rglob("*") if path.is_file()}
    file.write_bytes(whole[:100])
    with pytest.warns(UserWarning, match=r"damaged2"):
        Session.open(memory, file)
    assert file.with_name("chat.session.damaged").read_bytes() == broken


def rewritten(file, change):
    """Change the header of a session's file."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(file, framework="pt") as opened:
        header = json.loads(opened.metadata()["memptm.session"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    change(header)
    save_file(tensors, file, {"memptm.session": json.dumps(header)})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("asked", "3"),
        ("asked", None),
        ("asked", -1),
        ("asked", True),
        ("index", 5),
        ("encoder", None),
        ("fingerprint", []),
        ("format", "1"),
        ("format", float("inf")),
        ("conversation", 5),
        ("conversation", " "),
        ("exchanges", {}),
        ("exchanges", ["who"]),
        ("exchanges", [{"question": None, "answer": None, "time": ""}]),
        ("exchanges", [{"question": "Who?", "answer": 5, "time": ""}]),
        ("exchanges", [{"question": "Who?", "answer": None, "time": 2023}]),
    ],
)
def test_a_header_of_other_kinds_costs_the_session_alone(memory, file, field, value):
    Session.open(memory, file).add("Who?", said("", "Ada"))
    rewritten(file, lambda header: header.update({field: value}))
    with pytest.warns(UserWarning, match="is damaged"):
        session = Session.open(memory, file)
    session.follow_up("And it?")
    session.add("And it?", said("", "Bo"))
    assert Session.open(memory, file).asked == 1


def test_a_damaged_state_costs_the_session_alone(tmp_path, file):
    from safetensors.torch import load_file

    encoder = recurrent(tmp_path / "encoder")
    memory = made(tmp_path / "recurrent", encoder)
    Session.open(memory, file).add("Who?", said("", "Ada"))
    saved = load_file(file)
    file.write_bytes(
        file.read_bytes().replace(saved["lengths"].numpy().tobytes(), torch.tensor([7, 900]).numpy().tobytes())
    )
    with pytest.warns(UserWarning, match="is damaged"):
        session = Session.open(memory, file)
    session.follow_up("And it?")


def test_an_encoder_without_a_state_costs_none(tmp_path, file):
    """As one whose questions have weights of their own: the same keys, and nothing that reads."""
    memory = made(tmp_path / "recurrent", Remembers())
    Session.open(memory, file).add("Who built the lighthouse?", said("", "Ada Trent"))
    Session.open(Memory.open(memory.path, encoder=Toy()), file).add("And the fern?", said("", None))
    past = None
    for turn in ("Who built the lighthouse?", "Ada Trent", "And the fern?"):
        _, past = memory.encoder.read(turn, past)
    expected = unit(memory.encoder.ask("Who built the mill?", past))
    found = Session.open(memory, file).follow_up("Who built the mill?").vectors
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_each_session_has_a_conversation_of_its_own_and_keeps_it(memory, file, tmp_path):
    sessions = [
        Session(memory),
        Session(memory),
        Session.open(memory, file),
        Session.open(memory, tmp_path / file.name),
    ]
    names = [session.conversation for session in sessions]
    assert len(set(names)) == 4
    assert all(name.startswith("chat-") for name in names)
    sessions[2].save()
    assert Session.open(memory, file).conversation == names[2]
    rewritten(file, lambda header: header.update(format=1) or header.pop("conversation"))
    assert Session.open(memory, file).conversation == "chat"


def test_what_is_no_text_is_replaced_in_what_was_said(memory, file):
    session = Session.open(memory, file)
    session.add("Who sat in the caf\udce9?", said("", "Ada\0"))
    assert session.exchanges[0].turns == ["Who sat in the caf\ufffd?", "Ada"]
    assert Session.open(memory, file).exchanges == session.exchanges


def test_a_session_of_another_index_is_an_error_that_names_both_and_stays(memory, file, tmp_path):
    Session.open(memory, file).add("Who?", said("", "Ada"))
    kept = file.read_bytes()
    other = made(tmp_path / "other", Toy())
    with pytest.raises(InputError) as error:
        Session.open(other, file)
    assert str(memory.path) in str(error.value)
    assert str(other.path) in str(error.value)
    assert file.read_bytes() == kept


def test_a_session_of_another_encoder_is_an_error_that_names_both(memory, file):
    Session.open(memory, file).add("Who?", said("", "Ada"))
    memory.manifest = replace(memory.manifest, encoder="other", fingerprint="0123456789")
    with pytest.raises(InputError, match=r"toy \(toy-1\).*other \(01234567\)"):
        Session.open(memory, file)


def test_an_empty_file_is_a_new_session_and_one_cut_in_its_first_words_is_damaged(memory, file):
    file.parent.mkdir(exist_ok=True)
    file.touch()
    Session.open(memory, file).add("Who?", said("", "Ada"))
    assert Session.open(memory, file).asked == 1
    file.write_bytes(file.read_bytes()[:30])
    with pytest.warns(UserWarning, match="damaged"):
        assert Session.open(memory, file).asked == 0


def test_what_is_no_session_is_refused_and_left_alone(memory, tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "kept"
    save_file({"w": torch.zeros(2)}, tmp_path / "weights")
    save_file({"w": torch.zeros(2)}, tmp_path / "marked", {"other": "memptm.session"})
    for content in (
        b"# Lighthouse\n\nAda Trent built it.\n",
        b"Ada\n",
        bytes(100),
        b'{"__metadata__":{"memptm.session":"no length before it"}}',
        (tmp_path / "weights").read_bytes(),
        (tmp_path / "marked").read_bytes(),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match="no session"):
            Session.open(memory, file)
        assert file.read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == {"index", "kept", "marked", "weights"}


def test_what_is_no_file_and_what_lies_in_an_index_is_refused(memory, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a device or a pipe"),
        (Path(os.devnull), "is a device or a pipe"),
        (memory.path / "keys.faiss", "inside the index"),
        (memory.path / "memptm.json" / "x", "is not a folder"),
        (tmp_path / ("n" * 300), "too long"),
    ):
        with pytest.raises(InputError, match=said):
            Session.open(memory, path)
    assert (memory.path / "memptm.json").exists()


def test_a_newer_format_is_refused_and_left_alone(memory, file):
    Session.open(memory, file).add("Who?", said("", "Ada"))
    newer = file.read_bytes().replace(rb"\"format\": 2", rb"\"format\": 9")
    file.write_bytes(newer)
    with pytest.raises(InputError, match="format 9"):
        Session.open(memory, file)
    assert file.read_bytes() == newer


def test_a_failed_write_leaves_the_file_as_it_was(memory, file, monkeypatch):
    session = Session.open(memory, file)
    session.add("Who?", said("", "Ada"))
    kept = file.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(Exception, match="full"):
        session.add("What?", said("", "It"))
    assert file.read_bytes() == kept
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_memory_and_time_stay_bounded_over_1000_turns(tmp_path, file, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the disk's time is not what is measured
    memory = made(tmp_path / "recurrent", Remembers())
    session = Session.open(memory, file)
    sizes, seconds = [], []
    for n in range(1000):
        began = time.process_time()
        session.follow_up(f"What is {n}? " + "It " * 50)
        session.add(f"What is {n}? " + "It " * 50, said("", f"Number {n}"))
        seconds.append(time.process_time() - began)
        sizes.append(file.stat().st_size)
        if n == 200:
            resident = resident_kib()
    assert session.asked == 1000
    assert len(session.exchanges) == KEPT
    assert max(sizes[2 * KEPT :]) <= sizes[2 * KEPT] + 200  # numbers get longer
    assert np.median(seconds[-200:]) <= 3 * np.median(seconds[100:300]) + 0.005
    assert resident_kib() - resident < 20_000


def test_qa_goes_on_a_session_and_adds_to_it(index: Path, file):
    memory = Memory.open(index)
    session = Session.open(memory, file)
    qa = QA(memory)
    first = qa("Who built the lighthouse at Cape Morrow?", session=session)
    assert "Ada Trent" in str(first)
    second = qa("How tall is it?", session=session)
    assert second.question == "How tall is it?"
    assert "43" in str(second)
    assert [exchange.answer for exchange in Session.open(memory, file).exchanges] == [first.text, second.text]


def test_past_questions_and_answers_are_no_evidence(memory):
    session = Session(memory)
    assert session.evidence(None) is None
    question = "Who tends the garden?"
    Conversation(memory).remember_all(
        [NewTurn(text=question, kind="question"), NewTurn(text="Bo tends the garden.", kind="answer")]
    )
    Conversation(memory).remember("Ann tends the garden.")
    assert len(memory.search(question, where="said_as IS NOT NULL")) == 3
    for where in (None, "said_as IS NOT NULL", "conversation IS NULL OR part = 1"):
        hits = memory.search(question, where=Session(memory).evidence(where))
        assert hits[0].passage.text == "Ann tends the garden."
        assert all("Bo" not in hit.passage.text and hit.passage.text != question for hit in hits)


def test_qa_refuses_a_session_with_another_index(memory, index: Path):
    with pytest.raises(InputError, match="session is one with"):
        QA(Memory.open(index))("Who?", session=Session(memory))

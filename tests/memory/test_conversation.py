"""A memory as an agent's: remember, recall, forget."""

from __future__ import annotations

from datetime import datetime

import pytest
from toy import Toy

from memptm import Memory
from memptm.errors import InputError
from memptm.memory import conversation as module
from memptm.memory.conversation import Conversation, NewTurn


@pytest.fixture
def talk(memory):
    return Conversation(memory, "Ann's talk")


def test_what_was_said_is_recalled_in_a_later_session_with_speaker_and_time(talk, path):
    name = talk.remember("My sister lives in Bergen.", speaker="Ann", time=datetime(2023, 5, 8, 13, 56))
    talk.remember("The fern needs water.", speaker="Bo", time="9 May 2023")
    talk.memory.close()
    later = Conversation(Memory.open(path, encoder=Toy()), "another talk")
    hit = later.recall("Where does the sister live? Bergen?", k=1)[0]
    assert (hit.passage.id, hit.passage.text) == (name, "Ann: My sister lives in Bergen.")
    assert hit.passage.metadata["speaker"] == "Ann"
    assert hit.passage.metadata["time"] == "2023-05-08T13:56:00"
    assert hit.passage.context == "8 May 2023, 13:56"
    assert later.recall("sister in Bergen", where="speaker = 'Bo' AND time >= '2023-05-09'")[0].passage.text == (
        "Bo: The fern needs water."
    )


def test_it_grows_without_encoding_old_turns_anew_in_parts_of_bounded_size(talk, toy, monkeypatch):
    monkeypatch.setattr(module, "PART", 4)
    for n in range(10):
        talk.remember(f"Number {n} is said.", speaker="Ann", time="8 May 2023")
    assert len(toy.encoded) == 10
    assert [document.passages for document in talk.memory.documents()] == [4, 4, 2]
    assert [turn.text for turn in talk.turns()] == [f"Number {n} is said." for n in range(10)]
    assert [turn.id for turn in talk.turns()] == [f"Ann's talk:{n}" for n in range(1, 11)]


def test_several_turns_are_one_write(talk):
    talk.remember("First.")
    versions = [talk.memory.info()["version"]]
    for turns in ([NewTurn(text="Who?", kind="question")], [NewTurn(text="Ada.", kind="answer", speaker="memptm")] * 3):
        talk.remember_all(turns)
        versions.append(talk.memory.info()["version"])
    assert versions[2] - versions[1] == versions[1] - versions[0]
    assert [turn.metadata["said_as"] for turn in talk.turns()] == ["statement", "question", *["answer"] * 3]
    assert talk.memory.search("Ada", where="said_as = 'answer'")[0].passage.text == "memptm: Ada."


def test_another_writer_of_the_conversation_loses_nothing(talk, path):
    talk.remember("One is said.")
    Conversation(Memory.open(path, encoder=Toy()), talk.name).remember("Two is said.")
    talk.remember("Three is said.")
    assert [turn.text for turn in talk.turns()] == ["One is said.", "Two is said.", "Three is said."]


def test_a_turn_is_forgotten_and_the_others_stay(talk, toy):
    ids = [talk.remember(f"The {word} word.", time="8 May 2023") for word in ("first", "second", "third")]
    assert talk.forget(ids[1]) == 1
    assert [turn.text for turn in talk.turns()] == ["The first word.", "The third word."]
    assert all("second" not in hit.passage.text for hit in talk.recall("second word"))
    assert len(toy.encoded) == 3
    talk.remember("The fourth word.")
    assert [turn.id for turn in talk.turns()] == [ids[0], ids[2], "Ann's talk:4"]


def test_an_unknown_turn_is_an_error_and_nothing_is_forgotten(talk):
    one = talk.remember("One.")
    for wrong in ("Ann's talk:9", "x' OR 'a'='a"):
        with pytest.raises(InputError, match="Nothing was forgotten"):
            talk.forget(one, wrong)
    assert len(list(talk.turns())) == 1


def test_a_whole_conversation_is_forgotten_and_no_other(talk, monkeypatch):
    monkeypatch.setattr(module, "PART", 2)
    for n in range(5):
        talk.remember(f"Turn {n}.")
    Conversation(talk.memory, "other").remember("Kept.")
    assert talk.forget() == 5
    assert list(talk.turns()) == []
    assert [hit.passage.text for hit in talk.recall("Turn Kept")] == ["Kept."]
    with pytest.raises(InputError, match="Nothing was forgotten"):
        talk.forget()


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_turn_is_an_error_and_nothing_is_kept(talk, empty):
    with pytest.raises(InputError, match="empty"):
        talk.remember_all([NewTurn(text="Good."), NewTurn(text=empty)])
    assert list(talk.turns()) == []
    with pytest.raises(InputError, match="name"):
        Conversation(talk.memory, " ")


def test_what_is_no_text_is_replaced(talk):
    talk.remember("The caf\udce9 is\0 closed.", speaker="Zo\udce9")
    (turn,) = talk.turns()
    assert (turn.text, turn.speaker) == ("The caf\ufffd is closed.", "Zo\ufffd")


def test_a_time_that_is_no_date_is_kept_as_text(talk):
    talk.remember("Tea.", speaker="Ann", time="teatime")
    (hit,) = talk.recall("Tea")
    assert hit.passage.context == hit.passage.metadata["time_text"] == "teatime"
    assert "time" not in hit.passage.metadata


def test_a_turn_longer_than_the_window_is_read_back_as_it_was(path):
    talk = Conversation(Memory.open(path, create=True, encoder=Toy(max_tokens=30)), "long")
    text = " ".join(f"Sentence {n} has some words." for n in range(40))
    talk.remember(text, speaker="Ann")
    assert len(talk.memory) > 5
    talk.remember("After.", speaker="Ann")
    assert [turn.text for turn in talk.turns()] == [text, "After."]

"""Keys of passages in their documents: made once, made anew where the past changed, the same whichever way they came."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memptm import Document, Memory
from memptm.encoders.load import load_encoder
from memptm.errors import EncoderMismatch
from memptm.memory.encode import Texts, unit
from memptm.memory.rekey import rekey
from memptm.types import Block
from tests.encoders.tiny_recurrent import recurrent

WORDS = ["lamp", "mill", "river", "town", "stone", "bridge", "coal", "rope", "glass", "tin"]


def document(parts, name="d"):
    blocks, start = [], 0
    for n, part in enumerate(parts):
        blocks.append(Block(start=start, end=start + len(part), kind="turn", id=f"{name}/{n}"))
        start += len(part) + 1
    return Document(id=name, text="\n".join(parts), source="s", blocks=tuple(blocks))


def lines(count, word="mill"):
    return [f"The {word} number {n} stands by the {WORDS[n % len(WORDS)]}." for n in range(count)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return recurrent(tmp_path_factory.mktemp("recurrent"))


def test_an_index_holds_the_documents_keys(tmp_path, encoder):
    memory = Memory.open(tmp_path / "index", create=True, encoder=encoder)
    texts = [lines(6), lines(4, "lamp")]
    memory.add([document(part, name) for part, name in zip(texts, "ab", strict=True)])
    _, keys = memory.keys()
    assert np.allclose(keys, unit(encoder.encode_documents(texts)), atol=1e-5)
    assert not np.allclose(keys, unit(encoder.encode_passages([*texts[0], *texts[1]])), atol=1e-2)


def test_what_is_known_is_not_encoded_again(tmp_path, encoder):
    """A conversation grows: the new turns are encoded, those before only read. A change reaches as far as the encoder does."""
    assert encoder.reach == 4  # two layers, two passages
    memory = Memory.open(tmp_path / "index", create=True, encoder=encoder)
    assert memory.add([document(lines(12))]).encoded == 12
    assert memory.add([document(lines(15))]).encoded == 3
    changed = lines(15)
    changed[5] = "Nothing stands here."
    assert memory.add([document(changed)]).encoded == 1 + encoder.reach
    _, keys = memory.keys()
    assert np.allclose(keys, unit(encoder.encode_documents([changed])), atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(
    first=st.lists(st.sampled_from(WORDS), min_size=1, max_size=9),
    second=st.lists(st.sampled_from(WORDS), min_size=1, max_size=9),
)
def test_keys_do_not_depend_on_what_was_known(encoder, first, second):
    def texts(words):
        return Texts(passages(words), lambda: encoder)

    known = texts(first).encode({})
    made = known | texts(second).encode(known)
    fresh = texts(second).encode({})
    assert all(np.allclose(made[one], fresh[one], atol=1e-5) for one in texts(second).digests)


def passages(words):
    from memptm.documents.split import split

    return split(document([f"A {word} is here." for word in words]))


def test_a_chunk_of_many_tokens_changes_no_key(encoder, monkeypatch):
    texts = [lines(9), lines(1, "lamp"), lines(7, "rope")]
    whole = encoder.encode_documents(texts)
    monkeypatch.setattr("memptm.encoders.recurrent.CHUNK", 30)
    assert np.allclose(encoder.encode_documents(texts), whole, atol=1e-5)
    assert encoder.encode_documents([]).shape == (0, encoder.dimension)


def test_a_stream_gives_the_same_keys_and_its_state_can_be_kept(encoder):
    texts = lines(5)
    past, keys = None, []
    for text in texts:
        key, past = encoder.read(text, past)
        keys.append(key[0])
        past = encoder.past(past.tensors())
    many = encoder.encode_documents([texts])  # in whatever arithmetic is fastest for many
    assert ((np.stack(keys) * many).sum(1) > 0.999).all()
    with pytest.raises(ValueError, match="the state is not one of"):
        encoder.past({"states": past.states[:1], "lengths": past.lengths})
    alone = encoder.encode_questions(["Who built it?"])
    assert np.allclose(encoder.ask("Who built it?", None), alone, atol=1e-6)
    assert not np.allclose(encoder.ask("Who built it?", past), alone, atol=1e-3)


def test_keying_anew_equals_building_anew(tmp_path, encoder):
    plain = Memory.open(tmp_path / "plain", create=True, encoder=encoder.alone)
    plain.add([document(lines(6), "a"), document(lines(4, "lamp"), "b")])
    built = Memory.open(tmp_path / "built", create=True, encoder=encoder)
    built.add([document(lines(6), "a"), document(lines(4, "lamp"), "b")])
    assert np.allclose(rekey(plain, tmp_path / "anew", encoder).keys()[1], built.keys()[1], atol=1e-5)


def test_an_index_is_not_opened_with_the_encoder_without_its_memory(tmp_path, encoder):
    memory = Memory.open(tmp_path / "index", create=True, encoder=encoder)
    memory.add([document(lines(3))])
    with pytest.raises(EncoderMismatch):
        Memory.open(tmp_path / "index", encoder=load_encoder(encoder.alone.name))


def test_an_encoder_for_conversations_alone_reads_other_documents_a_passage_at_a_time(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(encoder, "only_conversations", True)
    memory = Memory.open(tmp_path / "index", create=True, encoder=encoder)
    book, talk = (
        document(lines(5), "book"),
        replace(document(lines(5, "lamp"), "talk"), metadata={"conversation": "talk"}),
    )
    memory.add([book, talk])
    passages, keys = memory.keys()
    assert [one.document for one in passages] == ["book"] * 5 + ["talk"] * 5
    assert np.allclose(keys[:5], unit(encoder.encode_passages(lines(5))), atol=1e-5)
    assert np.allclose(keys[5:], unit(encoder.encode_documents([lines(5, "lamp")])), atol=1e-5)
    grown = document(lines(6), "book")
    assert memory.add([grown]).encoded == 1

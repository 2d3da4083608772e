"""Training an encoder: questions adapt it, its memory learns with the encoder frozen, runs go on, the index made is used."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from memptm import QA, Document, Memory
from memptm.encoders.adapted import MemorySizes
from memptm.encoders.base import embedding_text
from memptm.encoders.load import BASE, load_encoder
from memptm.encoders.recurrent import RecurrentEncoder
from memptm.encoders.recurrent_bert import RecurrentBert
from memptm.errors import InputError, ModelMissing
from memptm.training.losses.passage_memory import FollowUp, PassageMemoryTask, PassageSpan, by_tokens, passage_spans
from memptm.training.recipes.encoder import EncoderRecipe, train_encoder
from memptm.types import Block
from tests.encoders.tiny import encoder as tiny
from tests.encoders.tiny_recurrent import recurrent
from tests.memory.toy import Toy
from tests.naive import assert_near

RECIPE = EncoderRecipe(pairs=4, hard=1, rank=2, tokens=50, span=3, steps=4, memory_steps=4, save_every=2)
NAMES = ["Hove", "Lyme", "Deal", "Rye", "Ware", "Bude"]


def documents():
    for n, name in enumerate(NAMES):
        parts = [
            f"{name} is a town by the sea.",
            f"Its mill was built in {1700 + n}.",
            "She was born there.",
            "It burnt down.",
        ]
        blocks, start = [], 0
        for m, part in enumerate(parts):
            blocks.append(Block(start=start, end=start + len(part), kind="turn", id=f"{name}/{m}"))
            start += len(part) + 1
        yield Document(id=name, text="\n".join(parts), blocks=tuple(blocks))


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    encoder = tiny(tmp_path_factory.mktemp("tiny"))
    memory = Memory.open(tmp_path_factory.mktemp("encoder") / "index", create=True, encoder=str(encoder.folder))
    memory.add(list(documents()))
    return memory


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    rows = [
        {
            "question": f"When was the mill of {name} built?",
            "answers": [str(1700 + n)],
            "context": f"Its mill was built in {1700 + n}.",
        }
        for n, name in enumerate(NAMES)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def made(memory, questions, tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    return out, train_encoder([questions], memory, out, recipe=RECIPE, held_out=[questions])


def test_both_phases_make_an_index_that_is_asked_like_any_other(made, memory):
    out, told = made
    assert list(told["phases"]) == ["adapt", "memory"]
    assert told["n"] == len(NAMES)
    index = Memory.open(told["index"])
    assert len(index) == len(memory)
    assert isinstance(index.encoder, RecurrentEncoder)
    assert index.search("When was the mill of Hove built?", k=2)
    assert QA(index)("When was the mill of Hove built?", k=3).method == "reader"
    weights = sum(path.stat().st_size for path in (out / "encoder").iterdir())
    assert weights < 60_000  # the encoder itself is not copied


def test_follow_ups_teach_the_query_that_their_rewrite_has(memory, questions, tmp_path):
    path = tmp_path / "follow_ups.jsonl"
    rows = [
        {
            "history": ["Tell me of Hove.", "It is a town."],
            "question": "When was its mill built?",
            "rewrite": f"When was {n}?",
        }
        for n in NAMES
    ]
    rows.append({"history": [], "question": "Who?", "rewrite": "Who?"})  # stands alone, teaches nothing
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = train_encoder([questions], memory, tmp_path / "out", recipe=RECIPE, follow_ups=[path])
    assert all("follow" in row for row in told["phases"]["memory"]["telemetry"])
    path.write_text('{"history": "Hove", "question": "When?", "rewrite": "When was Hove?"}\n')
    with pytest.raises(InputError, match=r"follow_ups\.jsonl line 1: history must be a list"):
        train_encoder([questions], memory, tmp_path / "other", recipe=RECIPE, follow_ups=[path])


def test_the_memory_leaves_the_adapted_encoder_as_it_is(made):
    out, _ = made
    whole, adapted = load_encoder(str(out / "encoder")), load_encoder(str(out / "adapt" / "encoder"))
    texts = ["Its mill was built in 1700.", "Who is she?"]
    assert_near(whole.encode_questions(texts), adapted.encode_questions(texts))
    assert_near(whole.encode_passages(texts), adapted.encode_passages(texts))
    assert not np.allclose(adapted.encode_questions(texts), load_encoder(BASE).encode_questions(texts)[:, :32])


def test_a_run_goes_on_as_if_it_had_not_been_stopped(made, memory, questions, tmp_path):
    whole, _ = made

    def stop(event):
        if event.stage == "memory" and event.done == 3:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train_encoder([questions], memory, tmp_path, recipe=RECIPE, progress=stop)
    train_encoder([questions], memory, tmp_path, recipe=RECIPE)
    for name in ("adapter.safetensors", "memory.safetensors"):
        first, second = load_file(whole / "encoder" / name), load_file(tmp_path / "encoder" / name)
        assert_near(first, second)


def test_without_questions_the_memory_alone_learns(memory, tmp_path):
    told = train_encoder([], memory, tmp_path, recipe=RECIPE)
    assert list(told["phases"]) == ["memory"]
    encoder = load_encoder(told["encoder"])
    assert_near(encoder.encode_questions(["Who?"]), memory.encoder.encode_questions(["Who?"]))
    assert sorted(path.name for path in (tmp_path / "encoder").iterdir()) == ["encoder.json", "memory.safetensors"]


@pytest.fixture(scope="module")
def remembering(tmp_path_factory):
    """An index whose keys know what came before."""
    encoder = recurrent(tmp_path_factory.mktemp("tiny"))
    memory = Memory.open(tmp_path_factory.mktemp("encoder") / "index", create=True, encoder=encoder)
    memory.add(list(documents()))
    return memory


def test_a_memory_learns_from_keys_that_stand_alone_whatever_the_index_holds(remembering, tmp_path, monkeypatch):
    taken = []
    make = PassageMemoryTask.__init__

    def noting(self, model, rows, alone, *rest, **named):
        taken.append(alone)
        make(self, model, rows, alone, *rest, **named)

    monkeypatch.setattr(PassageMemoryTask, "__init__", noting)
    told = train_encoder([], remembering, tmp_path, recipe=RECIPE)
    assert "note" not in told  # another memory takes the place of the one that was
    passages, first = remembering.keys()
    alone = remembering.encoder.alone.encode_passages([embedding_text(passage) for passage in passages])
    used = taken[0].abs().sum(1) > 0
    assert used.any()
    assert np.allclose(taken[0][used], alone[used], atol=1e-5)
    assert not np.allclose(first[used], alone[used], atol=1e-2)


def test_a_memory_that_is_lost_is_told_of(remembering, memory, questions, tmp_path):
    recipe = replace(RECIPE, phases=("adapt",))
    told = train_encoder([questions], remembering, tmp_path / "one", recipe=recipe)
    assert told["note"].startswith(f"The memory of {remembering.encoder.name} is not carried over")
    assert "note" not in train_encoder([questions], memory, tmp_path / "other", recipe=recipe)


def test_other_settings_than_those_of_the_run_are_refused(made, memory, questions):
    out, _ = made
    with pytest.raises(InputError, match="rank"):
        train_encoder(
            [questions],
            memory,
            out,
            recipe=EncoderRecipe(pairs=4, hard=1, rank=3, tokens=50, span=3, steps=4, memory_steps=4),
        )


def test_what_cannot_be_trained_on_is_refused(memory, tmp_path):
    with pytest.raises(InputError, match="Adapting needs questions"):
        train_encoder([], memory, tmp_path, recipe=EncoderRecipe(phases=("adapt",)))
    single = Memory.open(tmp_path / "single", create=True, encoder=memory.encoder)
    single.add([Document(text="One town."), Document(text="Another town.")])
    with pytest.raises(InputError, match="No document"):
        train_encoder([], single, tmp_path / "out", recipe=RECIPE)
    with pytest.raises(InputError, match="cannot be trained"):
        train_encoder([], Memory.open(tmp_path / "toy", create=True, encoder=Toy()), tmp_path / "again", recipe=RECIPE)


def test_an_encoder_that_was_trained_can_be_trained_further(made, questions, tmp_path):
    index = Memory.open(made[1]["index"])
    told = train_encoder([questions], index, tmp_path / "again", recipe=RECIPE)
    further, before = load_encoder(told["encoder"]), index.encoder
    assert isinstance(further, RecurrentEncoder)
    assert isinstance(before, RecurrentEncoder)
    moved = [
        (a - b).abs().max()
        for a, b in zip(further.alone.bert().parameters(), before.alone.bert().parameters(), strict=True)
    ]
    assert 0 < max(moved) < 0.1  # a few steps from where the first run ended


def test_another_base_than_the_one_trained_on_is_refused(made, tmp_path):
    out, _ = made
    other = tmp_path / "other"
    other.mkdir()
    for path in (out / "encoder").iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    settings = json.loads((other / "encoder.json").read_text())
    (other / "encoder.json").write_text(json.dumps(settings | {"fingerprint": "0"}))
    with pytest.raises(ModelMissing, match="made from another"):
        load_encoder(str(other))


def test_a_damaged_memory_is_refused(made, tmp_path):
    out, _ = made
    other = tmp_path / "other"
    other.mkdir()
    for path in (out / "encoder").iterdir():
        (other / path.name).write_bytes(path.read_bytes()[: 100 if path.name.startswith("memory") else None])
    with pytest.raises(ModelMissing, match="cannot be read"):
        load_encoder(str(other)).encode_documents([["a", "b"]])


def test_passage_spans_cover_documents_in_order():
    documents = [range(7), range(7, 8), range(8, 11)]
    found = passage_spans(documents, length=3, seed=0)
    assert all(one.end - one.start > 1 for one in found)
    assert all(any(one.start in document and one.end - 1 in document for document in documents) for one in found)
    batches = by_tokens(found, [10] * 11, tokens=40, seed=0)
    assert sorted(n for batch in batches for n in batch) == list(range(len(found)))


def test_the_target_is_the_mean_of_the_key_alone_and_in_context(memory):
    """And a task's loss by hand: cosine, and the share of the right target among all."""
    encoder = memory.encoder
    rows = encoder.token_ids(["First town.", "It burnt down.", "Nobody came."])
    bert, sizes = encoder.bert(), MemorySizes(rank=2)
    model = RecurrentBert(bert, sizes, pooling="mean").eval()

    def key(ids):
        return torch.nn.functional.normalize(bert(torch.tensor([ids]))[0].mean(0), dim=0)

    with torch.no_grad():
        alone = torch.stack([key(row) for row in rows])
        together = key([rows[0][0], *rows[0][1:-1], *rows[1][1:-1], rows[1][-1]])
        third = key([rows[0][0], *rows[0][1:-1], *rows[1][1:-1], *rows[2][1:-1], rows[2][-1]])
        targets = torch.nn.functional.normalize(alone + torch.stack([alone[0], together, third]), dim=1)
        asked = {2: alone[:1]}
        cosine = (alone * targets)[1:].sum(1).mean()
        shares = (alone[1:] @ targets.t() / 0.1).log_softmax(1)[[0, 1], [1, 2]].mean()
        question = (alone[:1] @ alone.t() / 0.1).log_softmax(1)[0, 2]
    follow = FollowUp(rows[:2], alone[0])  # the gates of questions are zero-initialised, too
    task = PassageMemoryTask(
        model,
        rows,
        alone,
        [PassageSpan(0, 3)],
        asked,
        [follow],
        before=2,
        window=64,
        temperature=0.1,
        learning_rate=1.0,
        seed=0,
    )
    told = task.training_step(1, [0])  # gates are zero-initialised: the keys are the keys alone
    assert told["cosine"] == pytest.approx(float(cosine), abs=1e-5)
    assert told["alone"] == pytest.approx(float(cosine), abs=1e-5)
    assert told["follow"] == pytest.approx(float(alone[1] @ alone[0]), abs=1e-5)
    assert told["loss"] == pytest.approx(float(1 - cosine - shares - question) + 1 - told["follow"], abs=1e-4)
    assert all(parameter.grad is None for parameter in bert.parameters())
    assert model.memories()[0].gate.weight.grad.abs().sum() > 0

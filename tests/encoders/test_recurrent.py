"""The recurrent encoder: nothing changes while its gates are zero-initialised, and a stream gives the keys that the whole document gives."""

import json
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memptm.encoders import precision
from memptm.encoders.adapted import MemorySizes
from memptm.encoders.batching import padded, pooled
from memptm.encoders.bert import Bert
from memptm.encoders.bert_config import BertConfig
from memptm.encoders.load import load_encoder
from memptm.encoders.precision import Choice
from memptm.encoders.recurrent_bert import Piece, RecurrentBert
from tests.encoders.tiny_recurrent import recurrent
from tests.naive import assert_near

CONFIG = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24)
CLOSE = {"atol": 1e-5}
lines = st.lists(st.lists(st.integers(1, 49), min_size=2, max_size=9), min_size=1, max_size=7)


def model(*, layers=3, passages=2, opened=True, seed=0):
    torch.manual_seed(seed)
    bert = Bert(CONFIG).eval()
    sizes = MemorySizes(layers=layers, passages=passages, rank=4)
    made = RecurrentBert(bert, sizes, pooling="mean").eval()
    for parameter in made.paths.parameters() if opened else []:
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def alone(made, row):
    ids, mask = padded([row])
    return pooled(made.bert(ids, mask), mask, "mean")[0]


@pytest.fixture
def document():
    return [[1, 7, 8, 2], [1, 9, 2], [1, 7, 3, 4, 5, 2], [1, 2], [1, 11, 12, 2]]


@torch.inference_mode()
def test_with_gates_shut_the_keys_are_the_encoders(document):
    made = model(opened=False)
    keys, _ = made([Piece(document)])
    ids, mask = padded(sorted(document, key=len, reverse=True))
    expected = pooled(made.bert(ids, mask), mask, "mean")
    order = sorted(range(len(document)), key=lambda n: -len(document[n]))
    assert_near(keys[order], expected)


@torch.inference_mode()
def test_a_passage_without_a_past_keeps_its_key(document):
    made = model()
    keys, _ = made([Piece([row]) for row in document])
    for key, row in zip(keys, document, strict=True):
        assert torch.allclose(key, alone(made, row), **CLOSE)


@torch.inference_mode()
def test_open_gates_let_the_past_be_seen(document):
    made = model()
    keys, _ = made([Piece(document)])
    assert torch.allclose(keys[0], alone(made, document[0]), **CLOSE)
    assert all((key - alone(made, row)).abs().max() > 1e-3 for key, row in zip(keys[1:], document[1:], strict=True))


@settings(deadline=None, max_examples=25)
@given(lines=lines, cut=st.integers(0, 7), passages=st.integers(1, 3))
@torch.inference_mode()
def test_a_stream_gives_the_documents_keys(lines, cut, passages):
    """Identity (b) of Transformer-XL: in one pass, passage by passage, or cut anywhere."""
    made = model(passages=passages)
    whole, last = made([Piece(lines)])
    past, one_by_one = None, []
    for row in lines:
        key, (past,) = made([Piece([row], past)])
        one_by_one.append(key)
    assert torch.allclose(whole, torch.cat(one_by_one), **CLOSE)
    assert torch.allclose(last[0].states, past.states, **CLOSE)
    assert torch.equal(last[0].lengths, past.lengths)
    if 0 < cut < len(lines):
        first, (past,) = made([Piece(lines[:cut])])
        rest, _ = made([Piece(lines[cut:], past)])
        assert torch.allclose(whole, torch.cat([first, rest]), **CLOSE)


@settings(deadline=None, max_examples=15)
@given(lines=lines, others=lines)
@torch.inference_mode()
def test_documents_beside_one_another_do_not_see_each_other(lines, others):
    made = model()
    together, _ = made([Piece(lines), Piece(others)])
    first, _ = made([Piece(lines)])
    second, _ = made([Piece(others)])
    assert torch.allclose(together, torch.cat([first, second]), **CLOSE)


@pytest.mark.parametrize("layers", [1, 3])
@torch.inference_mode()
def test_the_past_reaches_as_far_as_layers_times_passages(layers):
    made = model(layers=layers, passages=1)
    document = [[1, n, 2] for n in range(5, 12)]
    keys, _ = made([Piece(document)])
    for changed in range(len(document) - 1):
        other = [[1, 40, 2] if n == changed else row for n, row in enumerate(document)]
        apart = (made([Piece(other)])[0][-1] - keys[-1]).abs().max() > 1e-6
        assert apart == (len(document) - 1 - changed <= layers)


@torch.inference_mode()
def test_a_question_reads_what_was_said_by_paths_of_its_own(document):
    made = model()
    _, (past,) = made([Piece(document[:2])])
    read, _ = made([Piece(document[2:3], past)])
    asked, _ = made([Piece(document[2:3], past)], kind="ask")
    assert (read - asked).abs().max() > 1e-3
    assert torch.allclose(made([Piece(document[2:3])], kind="ask")[0][0], alone(made, document[2]), **CLOSE)


@torch.inference_mode()
def test_reading_itself_needs_no_past(document):
    """The control: the same path, and no context."""
    made = model(passages=0)
    made.paths = model(passages=1).paths
    keys, pasts = made([Piece(document)])
    turned, _ = made([Piece(document[::-1])])
    assert torch.allclose(keys, turned.flip(0), **CLOSE)
    assert (keys[1] - alone(made, document[1])).abs().max() > 1e-3
    assert pasts[0].lengths.numel() == 0


def test_memory_is_detached():
    made = model()
    made.bert.requires_grad_(False)
    words = made.bert.words.weight.requires_grad_(True)
    keys, _ = made([Piece([[1, 7, 2], [1, 9, 2]])])
    keys[1, 0].backward()  # their sum hardly changes after LayerNorm
    assert words.grad[9].abs().sum() > 0
    assert words.grad[7].abs().sum() == 0


@contextmanager
def computing(*, bfloat16):
    """As a process does in which bfloat16 won the race, or lost it."""
    before = list(precision._taken)
    precision.take(Choice(bfloat16=bfloat16, bulk="bfloat16" if bfloat16 else "float32"))
    try:
        yield
    finally:
        precision._taken[:] = before


@pytest.mark.parametrize("bfloat16", [True, False])
def test_a_state_kept_in_one_arithmetic_is_read_in_the_other(tmp_path, bfloat16):
    folder = recurrent(tmp_path).name
    with computing(bfloat16=bfloat16):
        wrote = load_encoder(folder)
        _, past = wrote.read("The mill burnt down.", None)
        saved, expected = past.tensors(), wrote.ask("Who built it?", past)
    assert saved["states"].dtype == torch.float32
    with computing(bfloat16=not bfloat16):
        reads = load_encoder(folder)
        past = reads.past(saved)
        found = reads.ask("Who built it?", past)
        _, past = reads.read("Ada built it.", past)
    assert past.lengths.shape == (2,)
    assert (found * expected).sum() > 0.999


def damaged(states, lengths):
    """States, each wrong in one way."""
    yield states, torch.tensor([7, 900])
    yield states, lengths[:1]
    yield states, lengths.float()
    yield states, lengths[None]
    yield states, torch.tensor([-3, states.shape[2] + 3])
    yield states, torch.cat([lengths, torch.tensor([0])])
    yield states.masked_fill(states == states.max(), torch.nan), lengths
    yield states.masked_fill(states == states.max(), torch.inf), lengths
    yield states.long(), lengths
    yield states[:1], lengths
    yield states[..., :3], lengths


def test_a_damaged_state_is_refused(tmp_path):
    encoder = recurrent(tmp_path)
    _, past = encoder.read("The mill burnt down.", None)
    _, past = encoder.read("Ada built it.", past)
    saved = past.tensors()
    assert torch.equal(encoder.past(saved).lengths, past.lengths)
    for states, lengths in damaged(saved["states"], saved["lengths"]):
        with pytest.raises(ValueError, match="state"):
            encoder.past({"states": states, "lengths": lengths})
    for name in saved:
        with pytest.raises(ValueError, match="state"):
            encoder.past({name: saved[name]})


def test_a_state_of_no_passages_is_kept_too(tmp_path):
    encoder = recurrent(tmp_path, passages=0)
    _, past = encoder.read("The mill burnt down.", None)
    again = encoder.past(past.tensors())
    assert_near(encoder.ask("Who?", again), encoder.ask("Who?", None))


def test_settings_that_change_keys_change_the_fingerprint(tmp_path):
    encoder = recurrent(tmp_path)
    path = tmp_path / "recurrent" / "encoder.json"
    kept = json.loads(path.read_text())
    assert load_encoder(encoder.name).fingerprint == encoder.fingerprint
    found = {encoder.fingerprint}
    for change in ({"layers": 1}, {"passages": 1}, {"rank": 4}, {"only_conversations": True}):
        path.write_text(json.dumps(kept | change))
        found.add(load_encoder(encoder.name).fingerprint)
    assert len(found) == 5

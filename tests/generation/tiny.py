"""Tiny random models with real tokenizers, saved as a user would have them: config.json, model.safetensors, tokenizer.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from memptm.generation.generator import Generator
from memptm.types import Passage

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
TEXT = """The ferry leaves at nine. Who built the old mill? Answer from the passages, in a few words.
Question: Passage: The harbour master keeps the key of the tower. not in memory. Kelp forests shelter otters."""
MARKS = ["<s>", "<|im_start|>", "<|im_end|>", "</s>", "[SEP]"]


def tokenizer(*, template: str | None = None, bos: bool = False, eos: bool = False, pad: bool = True) -> Any:
    """Byte-level BPE; ``bos``, ``eos``: put around every text by the tokenizer itself."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=MARKS, initial_alphabet=sorted(alphabet), show_progress=False
    )
    inner.train_from_iterator([TEXT] * 3, trainer)
    around = " ".join((["<s>"] if bos else []) + ["$A"] + (["</s>"] if eos else []))
    inner.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(mark, inner.token_to_id(mark)) for mark in ("<s>", "</s>")]
    )
    marks = {"bos_token": "<s>", "eos_token": "<|im_end|>" if template else "</s>"}
    if pad:
        marks["pad_token"] = "[SEP]"
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, additional_special_tokens=["<|im_start|>", "<|im_end|>", "[SEP]"], **marks
    )
    made.chat_template = template
    return made


def causal(folder: Path, *, window: int = 512, seed: int = 0, **settings: Any) -> Path:
    """A Llama of two layers."""
    words = tokenizer(**settings)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        initializer_range=0.3,  # so that what it reads matters
    )
    return save(folder, LlamaForCausalLM(config), words)


def encoder_decoder(folder: Path, *, seed: int = 0) -> Path:
    """A T5 of two layers."""
    words = tokenizer(eos=True)
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(words),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        initializer_factor=1.0,
    )
    return save(folder, T5ForConditionalGeneration(config), words)


def save(folder: Path, model: Any, words: Any) -> Path:
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def loaded(folder: Path) -> Generator:
    """The model as a generator, in float32 wherever the tests run."""
    generator = Generator.load(str(folder))
    generator.language_model.model.float()
    return generator


def passage(text: str, n: int = 0) -> Passage:
    return Passage(id=f"p{n}", document="d", text=text, start=10, end=10 + len(text))

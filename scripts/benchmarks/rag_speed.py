"""RAG's decoding side by side with transformers' RAG classes: the same random T5, the same five documents a question.

Whether the outputs are the same is checked too. RAG-Sequence differs by design in what it searches (transformers cuts each
document's beam to the beams asked for and scores with the start token left out), so that only its time is compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from transformers import (
    DPRConfig,
    DPRQuestionEncoder,
    RagConfig,
    RagSequenceForGeneration,
    RagTokenForGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from memptm.generation.beam import beam_search
from memptm.generation.decoding import LanguageModel
from memptm.generation.marginal import sequence_log_likelihood
from memptm.types import Json
from scripts.runs import RESULTS, Runs

VOCABULARY, DOCUMENTS, QUESTIONS, PROMPT, LONGEST, START, END = 8_000, 5, 2, 120, 19, 2, 1
ROUNDS = 5


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(out: Path) -> None:
    """Write OUT/rag_speed.jsonl."""
    torch.manual_seed(0)
    model, encoder = t5(), question_encoder()
    prompts = torch.randint(5, VOCABULARY, (QUESTIONS * DOCUMENTS, PROMPT))
    scores = 2 * torch.randn(QUESTIONS, DOCUMENTS)
    config = RagConfig.from_question_encoder_generator_configs(
        encoder.config, model.config, n_docs=DOCUMENTS, vocab_size=VOCABULARY
    )
    token = RagTokenForGeneration(config=config, question_encoder=encoder, generator=model).eval()
    sequence = RagSequenceForGeneration(config=config, question_encoder=encoder, generator=model).eval()
    language_model = LanguageModel(model, pad=0)
    results = Runs(out / "rag_speed.jsonl")
    for beams in (1, 3, 5):
        given = {
            "context_input_ids": prompts,
            "context_attention_mask": torch.ones_like(prompts),
            "doc_scores": scores,
            "n_docs": DOCUMENTS,
            "num_beams": beams,
            "max_length": LONGEST + 1,  # the start counts
        }
        pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "rag-token": (
                partial(token.generate, **given),
                partial(our_token, language_model, prompts, scores, beams),
            ),
            "rag-sequence, thorough": (
                partial(sequence.generate, input_ids=None, num_return_sequences=1, **given),
                partial(our_sequence, language_model, prompts, scores, beams),
            ),
        }
        for name, (theirs, ours) in pairs.items():
            times: tuple[list[float], list[float]] = ([], [])
            outputs: list[Any] = [None, None]
            for _ in range(ROUNDS):
                for n, run in enumerate((theirs, ours)):
                    began = time.perf_counter()
                    with torch.inference_mode():
                        outputs[n] = run()
                    times[n].append(time.perf_counter() - began)
            tokens = QUESTIONS * LONGEST
            rates = [tokens / statistics.median(some) for some in times]
            metrics: Json = {
                "transformers tokens/s": round(rates[0], 1),
                "memptm tokens/s": round(rates[1], 1),
                "ratio": round(rates[1] / rates[0], 2),
                "same outputs": str(outputs[0][:, 1:].tolist() == outputs[1]) if name == "rag-token" else "–",
            }
            click.echo(f"{name}, {beams} beams: {metrics}")
            results.append({"method": name, "beams": beams, "k": DOCUMENTS}, 0, metrics)


def t5() -> T5ForConditionalGeneration:
    """A random T5 of the size of t5-small, whose answers do not end early."""
    config = T5Config(
        vocab_size=VOCABULARY, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8, decoder_start_token_id=START,
        pad_token_id=0, eos_token_id=END, bos_token_id=3, tie_word_embeddings=False, initializer_factor=2.0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def question_encoder() -> DPRQuestionEncoder:
    """What their classes want beside a generator; it is not asked here."""
    return DPRQuestionEncoder(
        DPRConfig(
            vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
        )
    )


def our_token(model: LanguageModel, prompts: torch.Tensor, scores: torch.Tensor, beams: int) -> list[list[int]]:
    """The best answer of each question by RAG-Token."""
    state = model.start([row.tolist() for row in prompts])
    prior = scores.log_softmax(dim=1)
    found = beam_search(model, state, prior, beams=beams, stops=torch.tensor([END]), longest=LONGEST)
    return [list(some[0].ids) for some in found]


def our_sequence(model: LanguageModel, prompts: torch.Tensor, scores: torch.Tensor, beams: int) -> list[list[int]]:
    """The best answer of each question by thorough RAG-Sequence: a beam a document, all scored under all."""
    state = model.start([row.tolist() for row in prompts])
    apart = scores.new_zeros(len(prompts), 1)
    each = beam_search(model, state.copy(), apart, beams=beams, stops=torch.tensor([END]), longest=LONGEST)
    best = []
    for n, prior in enumerate(scores.log_softmax(dim=1)):
        rows = torch.arange(n * DOCUMENTS, (n + 1) * DOCUMENTS)
        answers = [list(ids) for ids in dict.fromkeys(one.ids for row in rows.tolist() for one in each[row])]
        total = sequence_log_likelihood(model.scores_after(state, rows, answers), prior.expand(len(answers), -1))
        best.append(answers[int(total.argmax())])
    return best


if __name__ == "__main__":
    main()

"""What enters a window too small for the text: MemRecall against truncation, sliding windows and plain top-k blocks.

The shipped reader reads every window. Texts are HotpotQA's ten paragraphs as one (hotpotqa_dev and the sixth of
hotpotqa_train that no judge was trained on, where both gold paragraphs are among the ten) and whole papers (the third of
covid_papers that no judge was trained on); the answer is the reader's best span, for each question has one. Support F1
compares the blocks read with those that hold a supporting sentence or the answer.
"""

from __future__ import annotations

import os

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")  # before torch loads

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from memptm.encoders.load import load_encoder
from memptm.evaluation.metrics import bootstrap, exact_match, f1
from memptm.generation.reader import Reader, Reading, marginalise, scored
from memptm.generation.windows import Windower
from memptm.progress import Progress, silent
from memptm.selection.block_scorers import EmbeddingScorer, LexicalScorer
from memptm.selection.blocks import split_blocks, tokens_of
from memptm.selection.load import load_block_scorer
from memptm.selection.read_document import passage_of
from memptm.selection.reading import choose, read_chosen, room
from memptm.selection.select import BlockScorer, MemRecall
from memptm.training.data.long_texts import LongExample, is_relevant
from memptm.types import Document, Json
from scripts.data.long_texts import Asked, measured
from scripts.runs import RESULTS, Runs

WINDOWS = (256, 512)
Spans = list[tuple[int, int]]
Method = Callable[
    [LongExample], tuple[str | None, Callable[[], Spans]]
]  # the answer, and the characters that were read


@dataclass(frozen=True)
class First:
    """The judge that truncation is: the earlier, the better."""

    def score(self, question: str, texts: Sequence[str]) -> First:  # noqa: ARG002 (a BlockScorer's)
        return self

    def coarse(
        self,
        blocks: Sequence[int],
        kept: Sequence[int] = (),  # noqa: ARG002
        *,
        progress: Progress = silent,  # noqa: ARG002
    ) -> list[float]:
        return [0.5] * len(blocks)  # of equal ones the earlier enters

    def fine(self, blocks: Sequence[int]) -> list[float]:
        return self.coarse(blocks)


def top(judge: BlockScorer) -> MemRecall:
    """Plain top-k blocks: one competition, no rehearsal, a full window."""
    return MemRecall(scorer=judge, rounds=1, rehearse=False, least=0.0)


def through(reader: Reader, make: Callable[[], MemRecall]) -> Method:
    """Read what a MemRecall chooses; it is made anew for each question, so that none gains from the one before."""

    def read(example: LongExample) -> tuple[str | None, Callable[[], Spans]]:
        passage = passage_of(Document(text=example.text))
        window = room(reader, example.question, [passage])
        tokenizer = reader.windower.tokenizer
        chosen = choose(example.question, [passage], make(), tokenizer=tokenizer, window=window)
        answer = read_chosen(reader, example.question, chosen, bias=reader.config.read_bias)
        predicted = answer.answers[0].text if answer.answers else None
        return predicted, lambda: [(block.start, block.end) for block in chosen.blocks]

    return read


def sliding(reader: Reader) -> Method:
    """Every window of the text; the one that holds the best span is what was read."""

    def read(example: LongExample) -> tuple[str | None, Callable[[], Spans]]:
        passage = passage_of(Document(text=example.text))
        reading = reader.read([example.question], [[passage]])[0]
        answer = marginalise(
            example.question, scored([passage], [0.0]), reading, bias=reader.config.read_bias, method="reader"
        )
        predicted = answer.answers[0].text if answer.answers else None
        return predicted, lambda: around(example, reading)

    def around(example: LongExample, reading: Reading) -> Spans:
        best = max(reading.spans, key=lambda span: span.log_odds, default=None)
        for window in reader.windower.windows([example.question], [""], [example.text]) if best else []:
            if best and best.start in window.offsets[window.owned][:, 0]:
                places = window.offsets[window.body]
                return [(int(places[0, 0]), int(places[-1, 1]))]
        return []

    return read


def methods(reader: Reader, judges: Path) -> dict[str, Method]:
    """Name → method; those whose judge has not been trained yet are left out."""
    encoder = load_encoder()
    found = {
        "truncation": through(reader, lambda: top(First())),
        "sliding windows": sliding(reader),
        "top-k by embedding": through(reader, lambda: top(EmbeddingScorer(encoder))),
        "top-k by BM25": through(reader, lambda: top(LexicalScorer())),
        "MemRecall, untrained": through(reader, lambda: MemRecall(scorer=EmbeddingScorer(encoder))),
    }
    for name in ("supervised", "unsupervised"):
        if (judges / name / "model.safetensors").is_file():
            judge = load_block_scorer(str(judges / name))
            found[f"MemRecall, {name}"] = through(reader, lambda judge=judge: MemRecall(scorer=judge))  # type: ignore[misc]
            if name == "supervised":
                bare = MemRecall(scorer=judge, rehearse=False)
                found["MemRecall, without rehearsal"] = through(reader, lambda bare=bare: bare)  # type: ignore[misc]
                found["top-k by the judge"] = through(reader, lambda judge=judge: top(judge))  # type: ignore[misc]
    return found


def support(read: Spans, example: LongExample, blocks: Spans) -> tuple[float, float]:
    """(F1, recall) of the blocks that were read, against those that hold something relevant."""
    gold = {n for n, (start, end) in enumerate(blocks) if is_relevant(start, end, example.relevant)}
    got = {n for n, (s, e) in enumerate(blocks) if any(2 * (min(e, b) - max(s, a)) > e - s for a, b in read)}
    common = len(gold & got)
    return 2 * common / max(len(gold) + len(got), 1), common / max(len(gold), 1)


def interval(values: Sequence[float], asked: Sequence[Asked]) -> str:
    low, high = bootstrap(values, groups=[one.group for one in asked])
    return f"{100 * sum(values) / len(values):.1f} ({100 * low:.1f}–{100 * high:.1f})"


def measure(method: Method, asked: Sequence[Asked], reader: Reader) -> tuple[Json, list[float]]:
    """The metrics, and F1 of every question."""
    method(asked[0].example)  # loads the models
    em, overlap, support_f1, support_recall = list[float](), list[float](), list[float](), list[float]()
    seconds = busy = 0.0
    cut: dict[str, Spans] = {}
    for one in asked:
        example = one.example
        began, cpu = time.perf_counter(), time.process_time()
        predicted, read = method(example)
        seconds, busy = seconds + time.perf_counter() - began, busy + time.process_time() - cpu
        em.append(exact_match(predicted, example.answers))
        overlap.append(f1(predicted, example.answers))
        if example.text not in cut:
            blocks = split_blocks(example.text, tokens_of(reader.windower.tokenizer))
            cut = {example.text: [(block.start, block.end) for block in blocks]}
        both = support(read(), example, cut[example.text])
        support_f1.append(both[0])
        support_recall.append(both[1])
    named = {"EM": em, "F1": overlap, "support F1": support_f1, "support recall": support_recall}
    metrics: Json = {"n": len(asked)} | {name: interval(values, asked) for name, values in named.items()}
    metrics |= {"s a question": round(seconds / len(asked), 3), "CPU s": round(busy / len(asked), 3)}
    return metrics, overlap


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option(
    "--judges", type=click.Path(path_type=Path), default=Path("runs/recall"), help="Of scripts/training/recall.py."
)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--limit", type=int, help="Only so many questions of each set, to try it; logged as such.")
@click.option("--window", "windows", type=int, multiple=True, default=WINDOWS)
@click.option("--only", multiple=True, help="Only these methods.")
@click.option("--questions", multiple=True, help="Only these sets.")
def main(
    data: Path,
    judges: Path,
    out: Path,
    limit: int | None,
    windows: tuple[int, ...],
    only: tuple[str, ...],
    questions: tuple[str, ...],
) -> None:
    """Write OUT/recall.jsonl, and OUT/recall_ahead.jsonl: how far MemRecall is ahead, question by question.

    What is there already is not measured again.
    """
    reader = Reader.load()
    runs, ahead = Runs(out / "recall.jsonl"), Runs(out / "recall_ahead.jsonl")
    tokenizer = reader.windower.tokenizer
    for name, asked in measured(data).items():
        if questions and name not in questions:
            continue
        asked = asked[:limit]
        for window in windows:
            reader.windower = Windower(tokenizer, window=window, stride=window // 3)
            each: dict[str, list[float]] = {}
            for method, run in methods(reader, judges).items():
                settings: Json = {"questions": name, "window": window, "method": method}
                settings |= {"limit": limit} if limit else {}
                kept = judges / "f1" / f"{name}-{window}-{method}-{limit}.json"
                if only and method not in only:
                    continue
                if not runs.done(settings) or not kept.is_file():
                    metrics, values = measure(run, asked, reader)
                    click.echo(f"{settings} {metrics}")
                    runs.append(settings, 0, metrics)
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_text(json.dumps(values), encoding="utf-8")
                each[method] = json.loads(kept.read_text(encoding="utf-8"))
            best = each.get("MemRecall, supervised")
            for other, values in each.items():
                settings = {"questions": name, "window": window, "F1 of MemRecall, supervised, less that of": other}
                settings |= {"limit": limit} if limit else {}
                if best and other != "MemRecall, supervised" and not ahead.done(settings):
                    less = [a - b for a, b in zip(best, values, strict=True)]
                    ahead.append(settings, 0, {"difference": interval(less, asked)})


if __name__ == "__main__":
    main()

"""The cognitive graph against reading once: HotpotQA's metrics over given paragraphs, recall over an open index, and what
method "auto" costs on questions that one passage answers.

    --part given    answer, support and joint EM and F1 of five methods, by set and by kind of question
    --part open     both gold titles among the passages visited, against searches at as many passages; answer F1; time
    --part routed   auto against the reader: on held-out SQuAD, which one passage answers; on hotpotqa_dev over the open index;
                    and on SQuAD's questions over that index, where nothing answers them and silence is right

In the first two parts a method must answer, as HotpotQA asks: the null answer is left out. "System 1, each page once" is
the trained System 1 without expansion: what training alone gives. The shipped reader, which all of them begin with, has read
the gold paragraphs of hotpotqa_train and multihop_train in training, the sixth that System 1 has not seen among them; of
hotpotqa_dev nothing was trained on. Intervals: a bootstrap over questions. What is there already is not measured again;
answers are kept a question a line in --runs, so that a run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click
import numpy as np

from memptm import reasoning
from memptm.encoders.load import load_encoder
from memptm.evaluation.hotpot import score
from memptm.evaluation.metrics import bootstrap, exact_match, f1
from memptm.generation.reader import SHIPPED as SHIPPED_READER
from memptm.generation.reader import Reader, Reading, marginalise, scored
from memptm.memory.in_memory import InMemoryIndex
from memptm.memory.memory import Memory
from memptm.pipeline import QA
from memptm.reasoning.answer import Verdict, conclude
from memptm.reasoning.cogqa import CogQA
from memptm.reasoning.findings import Findings
from memptm.reasoning.router import SHIPPED as ROUTER
from memptm.reasoning.system1 import PageInput, System1
from memptm.training.data.splits import held_out_passage
from memptm.types import Answer, Document, Json, Mode, Passage
from scripts.data.graph import answers, fact, gold_facts, index_of, kind, limited, paragraphs, test_sets
from scripts.data.held_out import rows
from scripts.runs import RESULTS, Runs

SEARCHES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
ANSWERS = 50.0  # a bias that leaves the null answer nothing
ONE_SHOT = 5  # passages that one-shot retrieval reads
OPEN_AT = 10  # passages at which recall is compared
METRICS = ("em", "f1", "support_em", "support_f1", "joint_em", "joint_f1")
GIVEN = (
    "single-hop reader", "one-shot retrieval", "System 1, each page once",
    "System 1", "System 1 + PageRank", "System 1 + System 2",
)  # fmt: skip
SUPPORTS = 0.5  # probability from which a sentence supports


class Given:
    """Each method on one question over its own paragraphs."""

    def __init__(self, weights: Path | None) -> None:
        self.reader, self.encoder = Reader.load(), load_encoder(None)
        self.cogqa = CogQA(InMemoryIndex([], self.encoder), self.reader, weights=weights)

    def answers(self, row: Json) -> Iterator[tuple[str, Answer, set[tuple[str, int]]]]:
        """(method, answer, supporting facts it gives)."""
        held = index_of(row, self.encoder)
        passages = {one.id: one for one in held.passages}
        hits = held.search(row["question"], k=ONE_SHOT)
        for method, read, prior in (
            ("single-hop reader", held.passages, None),
            ("one-shot retrieval", [hit.passage for hit in hits], self.reader.log_prior([hit.score for hit in hits])),
        ):
            (reading,) = self.reader.read([row["question"]], [read])
            answer = concluded(row["question"], read, prior, reading)
            yield method, answer, {fact(e.passage, e.answer_span[0]) for e in answer.evidence[:2] if e.answer_span}
        self.cogqa.memory = held
        if self.cogqa.systems[0] is not None:
            yield "System 1, each page once", *self._pages(self.cogqa.systems[0], row["question"], held.passages)
        findings = self.cogqa.expand(row["question"])
        for method, answer in self._graphs(self.cogqa, findings):
            graph = answer.graph
            yield method, answer, {fact(passages[c.passage], c.start) for c in graph.support} if graph else set()

    @staticmethod
    def _pages(system1: System1, question: str, passages: Sequence[Passage]) -> tuple[Answer, set[tuple[str, int]]]:
        page_readings = system1.read_pages(question, [PageInput(passage, ()) for passage in passages])
        spans = tuple(
            replace(span, passage=n) for n, page_reading in enumerate(page_readings) for span in page_reading.spans
        )
        reading = Reading(spans, tuple(page_reading.log_mass for page_reading in page_readings))
        facts = {
            fact(passage, start)
            for passage, page_reading in zip(passages, page_readings, strict=True)
            for (start, _), p in zip(page_reading.sentences, page_reading.support, strict=True)
            if p >= SUPPORTS
        }
        return concluded(question, passages, None, reading), facts

    @staticmethod
    def _graphs(cogqa: CogQA, findings: Findings) -> Iterator[tuple[str, Answer]]:
        trained = cogqa.systems[0] is not None
        yield "System 1", conclude(findings.flat(), bias=ANSWERS, trained=trained)
        yield "System 1 + PageRank", conclude(findings, bias=ANSWERS, trained=trained)
        if cogqa.systems[1] is not None:
            verdict: Verdict = cogqa.systems[1].judge(findings)
            yield "System 1 + System 2", conclude(findings, verdict, bias=ANSWERS, trained=trained)


def concluded(question: str, passages: Sequence[Passage], prior: list[float] | None, reading: Reading) -> Answer:
    """The best answer, whatever the null's share."""
    log_prior = prior or [-float(np.log(len(passages)))] * len(passages)
    return marginalise(question, scored(passages, log_prior), reading, bias=ANSWERS, method="reader")


def label(cogqa: CogQA) -> str:
    """Of its weights: "none", or their folder's name."""
    return "none" if cogqa.weights is None else cogqa.weights.name


def made_by(cogqa: CogQA) -> str:
    """What answers depend on, for the names of files that keep them: weights, encoder, and the code of memptm/reasoning."""
    learned = [] if cogqa.weights is None else sorted(cogqa.weights.glob("*.safetensors"))
    code = sorted(Path(reasoning.__path__[0]).glob("*.py"))
    made = hashlib.sha256(cogqa.memory.encoder.fingerprint.encode())
    for path in (*learned, *code, ROUTER, SHIPPED_READER / "config.json"):
        made.update(path.read_bytes())
    return made.hexdigest()[:8]


def log(results: Runs, settings: Json, metrics: Json, made: str) -> None:
    """Append ``metrics``, unless these answers are there."""
    of = {"answers": made}
    if not results.done(settings, metrics=of):
        results.append(settings, 0, metrics | of)


def cached(path: Path, questions: Sequence[Json], make: Callable[[Json], Json]) -> list[Json]:
    """``make`` of each question, a line each in ``path``; lines that are there already are read back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {row["id"]: row for row in rows(path)} if path.exists() else {}
    with path.open("a", encoding="utf-8") as log:
        for n, row in enumerate(questions):
            if row["id"] not in made:
                made[row["id"]] = {"id": row["id"], **make(row)}
                log.write(json.dumps(made[row["id"]], ensure_ascii=False) + "\n")
                log.flush()
            if n % 20 == 19:
                click.echo(f"{path.stem}: {n + 1} of {len(questions)}")
    return [made[row["id"]] for row in questions]


def interval(values: Sequence[float]) -> str:
    """Mean in percent with its 95 % interval."""
    low, high = bootstrap(list(values))
    return f"{100 * float(np.mean(values)):.1f} ({100 * low:.1f}–{100 * high:.1f})"


def given(data: Path, weights: Path | None, folder: Path, limit: int | None, out: Path, only: str | None) -> None:
    """Write OUT/graph_given.jsonl."""
    made, results = Given(weights), Runs(out / "graph_given.jsonl")
    weighted, answered_by = label(made.cogqa), made_by(made.cogqa)

    def ask(row: Json) -> Json:
        found: Json = {}
        for method, answer, facts in made.answers(row):
            found[method] = asdict(score(answer.text, answers(row), facts, gold_facts(row))) | {"answer": answer.text}
        return found

    for name, every in test_sets(data).items():
        if only not in (None, name):
            continue
        questions = limited(every, limit)
        lines = cached(folder / f"given {answered_by} {name.replace(',', '')}.jsonl", questions, ask)
        for part in ("all", "bridge", "comparison"):
            chosen = [line for line, row in zip(lines, questions, strict=True) if part in ("all", kind(row))]
            for method in GIVEN:
                some = [line[method] for line in chosen if method in line]
                settings = {"set": name, "questions": part, "weights": weighted, "method": method, "limit": limit}
                if some:
                    metrics = {metric: interval([one[metric] for one in some]) for metric in METRICS}
                    log(results, settings, {"n": len(some), **metrics}, answered_by)
    click.echo(results.table())


def open_texts(data: Path) -> dict[str, str]:
    """Title → text: every paragraph of the test questions together with wiki2hop_corpus, each title once."""
    texts: dict[str, str] = {}
    for questions in test_sets(data).values():
        for row in questions:
            for passage in paragraphs(row):
                texts.setdefault(passage.title, passage.text)
    for row in rows(data / "wiki2hop_corpus.jsonl"):
        texts.setdefault(row["title"], row["text"])
    return texts


def stands_in(row: Json, texts: dict[str, str]) -> bool:
    """Whether all gold titles are there, with the row's own text where the row has one."""
    own = {one.title: one.text for one in paragraphs(row)}
    return all(title in texts and own.get(title, texts[title]) == texts[title] for title, _ in row["supporting_facts"])


def open_index(data: Path, folder: Path) -> Memory:
    """The texts of ``open_texts``; made once."""
    memory = Memory.open(folder, create=True)
    memory.add([Document(id=title, title=title, text=text) for title, text in open_texts(data).items()])
    return memory


def opened(data: Path, weights: Path | None, folder: Path, limit: int | None, out: Path) -> None:
    """Write OUT/graph_open.jsonl: of questions whose gold titles are all in the index."""
    memory, reader, results = open_index(data, folder / "index"), Reader.load(), Runs(out / "graph_open.jsonl")
    texts = open_texts(data)
    cogqa = CogQA(memory, reader, weights=weights, pages=OPEN_AT)
    named, answered_by = label(cogqa), made_by(cogqa)

    def ask(row: Json) -> Json:
        gold = {title for title, _ in row["supporting_facts"]}
        found: Json = {}
        began = time.perf_counter()
        findings = cogqa.expand(row["question"])
        answer = conclude(findings, cogqa.verdict(findings), bias=ANSWERS, trained=cogqa.systems[0] is not None)
        seen = {place.passage.title for place in findings.read_passages}
        read = len({(place.passage.document, place.passage.id) for place in findings.read_passages})
        found["graph"] = _open_line(answer, row, seen, gold, began, read) | {"nodes": len(findings.pages)}
        for mode in SEARCHES:
            began = time.perf_counter()
            hits = memory.search(row["question"], k=max(OPEN_AT, read), mode=mode)
            prior = reader.log_prior([hit.similarity if mode == "lexical" else hit.score for hit in hits])
            passages = [hit.passage for hit in hits]
            (reading,) = reader.read([row["question"]], [passages])
            answer = concluded(row["question"], passages, prior, reading)
            found[mode] = _open_line(answer, row, {one.title for one in passages}, gold, began, len(hits))
        return found

    for name, every in test_sets(data).items():
        if name == "hotpotqa_dev, both gold there":  # a part of the other
            continue
        questions = limited([row for row in every if stands_in(row, texts)], limit)
        lines = cached(folder / f"open {answered_by} {name.replace(',', '')}.jsonl", questions, ask)
        for method in (*SEARCHES, "graph"):
            settings = {"set": name, "weights": named, "method": method, "limit": limit}
            if lines:
                some = [line[method] for line in lines]
                metrics: Json = {"n": len(some)}
                metrics |= {key: interval([one[key] for one in some]) for key in ("both gold", "em", "f1")}
                for count in ("passages", "nodes"):
                    if count in some[0]:
                        metrics[count] = round(float(np.mean([one[count] for one in some])), 1)
                metrics["seconds"] = round(float(np.median([one["seconds"] for one in some])), 2)
                log(results, settings, metrics, answered_by)
    click.echo(results.table())


def _open_line(answer: Answer, row: Json, seen: set[str], gold: set[str], began: float, read: int) -> Json:
    return {
        "both gold": float(gold <= seen), "em": exact_match(answer.text, answers(row)), "f1": f1(answer.text, answers(row)),
        "passages": read, "seconds": time.perf_counter() - began, "answer": answer.text,
    }  # fmt: skip


def routed(data: Path, folder: Path, limit: int | None, out: Path) -> None:
    """Write OUT/graph_routed.jsonl."""
    every = rows(data / "squad_subset.jsonl")
    memory = Memory.open(folder / "squad", create=True)
    memory.add([Document(text=text) for text in dict.fromkeys(row["context"] for row in every)])
    single = [row for row in every if held_out_passage(row["context"])]
    _route("SQuAD", memory, limited(single, limit), folder, limit, out)
    texts = open_texts(data)
    several = [row for row in test_sets(data)["hotpotqa_dev"] if stands_in(row, texts)]
    several = [{**row, "answers": answers(row)} for row in several]
    opened = open_index(data, folder / "index")
    _route("hotpotqa_dev", opened, limited(several, limit), folder, limit, out)
    elsewhere = [{**row, "answers": []} for row in single]
    _route("SQuAD, elsewhere", opened, limited(elsewhere, limit), folder, limit, out)


def _route(name: str, memory: Memory, questions: list[Json], folder: Path, limit: int | None, out: Path) -> None:
    methods = {method: QA(memory, method=method) for method in ("reader", "auto", "graph")}

    def ask(row: Json) -> Json:
        found: Json = {}
        for method, qa in methods.items():
            began = time.perf_counter()
            answer = qa(row["question"])
            found[method] = {
                "em": exact_match(answer.text, row["answers"]), "f1": f1(answer.text, row["answers"]),
                "seconds": time.perf_counter() - began,
                "graph": float(answer.method == "graph"), "silent": float(answer.text is None),
            }  # fmt: skip
        return found

    for qa in methods.values():
        qa(questions[0]["question"])  # loads the models, which is no question's time
    cogqa = CogQA(memory, Reader.load())
    answered_by = made_by(cogqa)
    lines = cached(folder / f"routed {answered_by} {name}.jsonl", questions, ask)
    results = Runs(out / "graph_routed.jsonl")
    base = float(np.mean([line["reader"]["seconds"] for line in lines]))
    for method in methods:
        some = [line[method] for line in lines]
        lost = [line["reader"]["em"] - line[method]["em"] for line in lines]
        spent = float(np.mean([one["seconds"] for one in some]))
        metrics: Json = {
            "n": len(some), "EM": interval([one["em"] for one in some]), "F1": interval([one["f1"] for one in some]),
            "EM lost": interval(lost),
            "says nothing %": round(100 * float(np.mean([one["silent"] for one in some])), 1),
            "takes the graph %": round(100 * float(np.mean([one["graph"] for one in some])), 1),
            "seconds": round(spent, 2), "times the reader": round(spent / base, 2),
        }  # fmt: skip
        settings = {"questions": name, "method": method, "weights": label(cogqa), "limit": limit}
        log(results, settings, metrics, answered_by)
    click.echo(results.table())


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--part", type=click.Choice(["given", "open", "routed"]), required=True)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="A folder of scripts/training/graph.py; else the shipped, or none.",
)
@click.option("--runs", "folder", type=click.Path(path_type=Path), default=Path("runs/graph"))
@click.option("--limit", type=int, help="Questions of each set, for a trial.")
@click.option("--set", "only", help="Of part given: one set alone, by its name in graph_data.py.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(
    data: Path, part: str, weights: Path | None, folder: Path, limit: int | None, only: str | None, out: Path
) -> None:
    """Measure one part."""
    if part == "given":
        given(data, weights, folder, limit, out, only)
    elif part == "open":
        opened(data, weights, folder, limit, out)
    else:
        routed(data, folder, limit, out)


if __name__ == "__main__":
    main()

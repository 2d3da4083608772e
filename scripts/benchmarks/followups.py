"""Follow-up questions: what a session's memory is worth to retrieval and to reading.

Three logs in scripts/results, each with 95 % intervals (bootstrap over dialogs):

``followup_keys.jsonl``: CANARD, held-out dialogs. The query of a question is compared with the keys of all 2,813 rewrites;
recall@1 and @5 of its own.
``followups.jsonl``: the same questions asked of an index of all dialogs' texts (recall of the passage that answers), and
the reader's F1 when it is given the dialog's text. ``changed subject``: the rewritten question, which can stand alone,
after the turns of another dialog: what a session must not spoil.
``followup_facts.jsonl``: iKAT, recall of the personal facts that a turn needs among that person's facts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import click
import numpy as np

from memptm.answering.asked import Asked
from memptm.encoders.base import Encoder, Keys, Recurrent, StreamState
from memptm.encoders.load import DEFAULT
from memptm.evaluation.metrics import bootstrap, f1
from memptm.generation.generator import Generator
from memptm.generation.reader import Reader
from memptm.memory.encode import unit
from memptm.memory.memory import Memory
from memptm.session import TURNS, Session
from memptm.types import Json, Mode, Passage
from scripts.data.followups import Canard, FollowUpQuestion, PersonalTurn, personal_turns
from scripts.runs import RESULTS, Runs

ALL = 1000
Case = FollowUpQuestion | PersonalTurn


def share(values: Sequence[float], groups: Sequence[str]) -> str:
    low, high = bootstrap(values, groups=groups)
    return f"{100 * sum(values) / len(values):.1f} ({100 * low:.1f}–{100 * high:.1f})"


def before(encoder: Encoder, history: Sequence[str], question: str, *, turns: int) -> str:
    """The question with so many turns before it, a line each, as many as the window holds."""
    kept = list(history[-turns:]) if turns else []
    while kept and encoder.count_tokens(["\n".join([*kept, question])])[0] > encoder.max_tokens:
        kept.pop(0)
    return "\n".join([*kept, question])


def follow_up(memory: Memory, asked: Case, question: str) -> Asked:
    """What a session makes of the question after what was said."""
    session = Session(memory)
    for one, answer in asked.exchanges:
        session.add(one, answer)
    return session.follow_up(question)


def ways(memory: Memory) -> dict[str, Callable[[Case, str], Keys]]:
    """Name → the (1, dimension) query of a question after what was said."""
    encoder = memory.encoder

    def written(turns: int) -> Callable[[Case, str], Keys]:
        return lambda asked, question: encoder.encode_questions([before(encoder, asked.turns, question, turns=turns)])

    def mean(turns: int) -> Callable[[Case, str], Keys]:
        return lambda asked, question: unit(written(0)(asked, question)) + unit(written(turns)(asked, question))

    found = {"question alone": written(0)}
    for turns, name in ((1, "1 turn"), (2, "2 turns"), (3, "3 turns"), (TURNS, f"{TURNS} turns"), (ALL, "all turns")):
        found[f"{name} written before"] = written(turns)
        found[f"mean of alone and {name}"] = mean(turns)
    if isinstance(encoder, Recurrent):
        found["the encoder's state"] = lambda asked, question: unit(encoder.ask(question, state(encoder, asked.turns)))
    found["session"] = lambda asked, question: cast("Keys", follow_up(memory, asked, question).vectors)
    return found


def state(encoder: Recurrent, turns: Sequence[str]) -> StreamState | None:
    """What the encoder keeps of what was said."""
    past = None
    for turn in turns:
        _, past = encoder.read(turn, past)
    return past


def measure_keys(runs: Runs, memory: Memory, canard: Canard, name: str) -> None:
    questions = canard.held_out()
    keys = unit(memory.encoder.encode_questions(canard.rewrites()))
    own = np.array([one.row for one in questions])
    for way, query in ways(memory).items():
        settings = {"encoder": name, "query": way}
        if runs.done(settings):
            continue
        scores = unit(np.concatenate([query(one, one.question) for one in questions])) @ keys.T
        ranks = (scores > scores[np.arange(len(own)), own][:, None]).sum(axis=1)
        metrics: Json = {"n": len(own)}
        for k in (1, 5):
            metrics[f"recall@{k}"] = share([float(rank < k) for rank in ranks], [one.dialog for one in questions])
        runs.append(settings, 0, metrics)


def recall_of_passage(
    memory: Memory, questions: Sequence[FollowUpQuestion], words: list[str], queries: Keys, mode: Mode
) -> Json:
    found = memory.search(words, k=5, mode=mode, queries=queries)
    table: Json = {}
    for k in (1, 5):
        values = []
        for one, hits in zip(questions, found, strict=True):
            passages = [hit.passage for hit in hits[:k]]
            right = [p.document == one.dialog and p.start <= (one.start or 0) < p.end for p in passages]
            values.append(float(any(right)))
        table[f"recall@{k}"] = share(values, [one.dialog for one in questions])
    return table


def measure_asking(runs: Runs, memory: Memory, canard: Canard, name: str, *, limit: int) -> None:
    questions = [one for one in canard.held_out() if one.answer is not None]
    others = [
        replace(one, history=questions[(n + len(questions) // 2) % len(questions)].history)
        for n, one in enumerate(questions)
    ]
    reader = Reader.load()
    for case, asked, texts in (
        ("follow-up", questions, [one.question for one in questions]),
        ("changed subject", others, [one.rewrite for one in questions]),
    ):
        made = [follow_up(memory, one, text) for one, text in zip(asked, texts, strict=True)]
        alone = unit(memory.encoder.encode_questions(texts))
        session = np.concatenate([cast("Keys", one.vectors) for one in made])
        last = [" ".join([text, *one.history[-2:]]) for one, text in zip(asked, texts, strict=True)]
        by_words = [one.words for one in made]
        lists: tuple[tuple[str, list[str], Keys], ...] = (
            ("alone", texts, alone),
            ("session, words of the question", texts, session),
            ("session, words of the last exchange too", last, session),
            ("session", by_words, session),
        )
        for way, words, queries in lists:
            for mode in ("dense", "hybrid"):
                settings = {"encoder": name, "case": case, "asked": way, "figure": f"passage, {mode}"}
                if not runs.done(settings):
                    found = recall_of_passage(
                        memory, questions, words, queries, "dense" if mode == "dense" else "hybrid"
                    )
                    runs.append(settings, 0, {"n": len(questions), **found})
        read = {
            "alone": texts,
            "last exchange before": [" ".join([*one.history[-2:], t]) for one, t in zip(asked, texts, strict=True)],
            "session": [one.query.whole for one in made],
        }
        for way, forms in read.items():
            settings = {"encoder": "", "case": case, "asked": way, "figure": "reader"}
            if not runs.done(settings):
                runs.append(settings, 0, read_f1(reader, canard, questions[:limit], forms[:limit]))


def read_f1(reader: Reader, canard: Canard, questions: Sequence[FollowUpQuestion], forms: Sequence[str]) -> Json:
    """F1 of the reader's answer, the dialog's text in hand."""
    pairs = zip(questions, forms, strict=True)
    return answer_f1([reader.answer(form, [whole(canard, one)]).text for one, form in pairs], questions)


def measure_writing(runs: Runs, memory: Memory, canard: Canard, *, limit: int) -> None:
    """F1 of the generator's answer, the dialog's text in hand, with and without the chat's history."""
    questions = [one for one in canard.held_out() if one.answer is not None][:limit]
    generator = Generator.load()
    made = [follow_up(memory, one, one.question) for one in questions]
    for way in ("alone", "chat history", "last answer before"):
        settings = {"encoder": "", "case": "follow-up", "asked": way, "figure": "generator"}
        if runs.done(settings):
            continue
        answers = []
        for one, session in zip(questions, made, strict=True):
            following = generator.after(session.history) if way == "chat history" else generator
            text = session.query.whole if way == "last answer before" else one.question
            answers.append(following.generate(text, [whole(canard, one)]).text)
        runs.append(settings, 0, answer_f1(answers, questions))


def whole(canard: Canard, one: FollowUpQuestion) -> Passage:
    text = canard.texts[one.dialog]
    return Passage(id="p", document="p", text=text, start=0, end=len(text), title=canard.titles[one.dialog])


def answer_f1(answers: Sequence[str | None], questions: Sequence[FollowUpQuestion]) -> Json:
    values = [f1(answer, [one.answer or ""]) for answer, one in zip(answers, questions, strict=True)]
    return {
        "n": len(questions),
        "F1": share(values, [one.dialog for one in questions]),
        "says nothing %": round(100 * sum(answer is None for answer in answers) / len(values), 1),
    }


def measure_facts(runs: Runs, memory: Memory, data: Path, name: str) -> None:
    facts, turns = personal_turns(data)
    encoder = memory.encoder
    keys = {title: unit(encoder.encode_passages(texts)) for title, texts in facts.items()}
    forms = ways(memory)
    for way in (*forms, "resolved by hand"):
        settings = {"encoder": name, "query": way}
        if runs.done(settings):
            continue
        metrics: Json = {"n": len(turns)}
        values: dict[int, list[float]] = {1: [], 3: [], 5: []}
        for one in turns:
            made = forms[way](one, one.utterance) if way in forms else encoder.encode_questions([one.resolved])
            order = np.argsort(-(keys[one.title] @ unit(made)[0]), kind="stable")
            for k, found in values.items():
                best = [facts[one.title][n] for n in order[:k]]
                found.append(sum(fact in best for fact in one.facts) / len(one.facts))
        for k, found in values.items():
            metrics[f"recall@{k}"] = share(found, [one.title for one in turns])
        runs.append(settings, 0, metrics)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"))
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--index", type=click.Path(path_type=Path), default=Path("runs/canard"), help="Made where absent.")
@click.option("--encoder", default=DEFAULT, help="An encoder's name or folder.")
@click.option("--read", default=150, help="Questions that the reader is asked, a case.")
@click.option("--write", default=0, help="Questions that the generator is asked, a way: some seconds each.")
def main(data: Path, out: Path, index: Path, encoder: str, read: int, write: int) -> None:
    """Write OUT/followup_keys.jsonl, followups.jsonl, followup_facts.jsonl; what is there is not measured again."""
    name = Path(encoder).name
    canard = Canard(data)
    memory = canard.open_index(index / name, encoder=encoder)
    logs = {log: Runs(out / f"{log}.jsonl") for log in ("followup_keys", "followups", "followup_facts")}
    measure_keys(logs["followup_keys"], memory, canard, name)
    click.echo(logs["followup_keys"].table())
    measure_facts(logs["followup_facts"], memory, data, name)
    click.echo(logs["followup_facts"].table())
    measure_asking(logs["followups"], memory, canard, name, limit=read)
    if write:
        measure_writing(logs["followups"], memory, canard, limit=write)
    click.echo(logs["followups"].table())


if __name__ == "__main__":
    main()

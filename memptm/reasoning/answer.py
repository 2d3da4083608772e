"""From what was found to an answer, its probability, its evidence and the graph that explains it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from memptm.generation.reader import Reading, answer_key, answered_log_odds, log_sum, marginalise
from memptm.graph import Clue, CognitiveGraph, Edge, Node
from memptm.reasoning.findings import Findings, ReadPassage
from memptm.types import Answer, Candidate, Evidence

METHOD = "graph"
BIAS = 0.5  # added to every log odds without training: a reader of single passages doubts what it cannot see whole; fitted by
# eye on 24 training questions, of which 15 of 16 are then answered and 5 of 8 without their gold pages are not
TRAINED_BIAS = -0.5  # with it (scripts/training/calibrate_graph.py)
SHOWN = 0.01  # share below which a possible answer is no node of the graph
NOTHING_READ = "There was no passage to read."
NO_NAME = "The question names nothing that the index knows: the search began at the passages nearest to it."
NO_EDGE = "No name led from one passage to another: this is answered from the passages alone."
NO_VERDICT = "This seems to ask for yes or no, which was not decided: the answer is what the passages say of it."
SUPPORTS = 0.5  # probability from which a sentence of the path supports, where System 1 learned what supports


@dataclass(frozen=True)
class Verdict:
    """What System 2 says.

    Attributes:
        shift: what is added to the log odds of an answer, by its key.
        choice: of a comparison, (text, probability) of each alternative, likeliest first.
        compared: the numbers of the two pages compared, in the question's order.
    """

    shift: dict[str, float]
    choice: tuple[tuple[str, float], ...] = ()
    compared: tuple[int, ...] = ()


def conclude(
    findings: Findings, verdict: Verdict | None = None, *, bias: float | None = None, trained: bool = False
) -> Answer:
    """The answer.

    Without a verdict p(y | x) is the reader's marginal over passages (generation/reader.py), with each page's PageRank as
    p(z | x). A verdict moves the odds of single answers, or chooses between the two sides of a comparison.

    Args:
        findings: the pages that were read.
        verdict: System 2's; None where it was not trained.
        bias: added to every log odds; None: BIAS, or TRAINED_BIAS with a trained System 1.
        trained: System 1 is, so that ``PageReading.support`` is a probability.
    """
    question = findings.result.question
    if bias is None:
        bias = TRAINED_BIAS if trained else BIAS
    if not findings.read_passages:
        empty = CognitiveGraph(question=question)
        return Answer(question=question, text=None, probability=1.0, method=METHOD, note=NOTHING_READ, graph=empty)
    reading = findings.shifted(verdict.shift) if verdict and verdict.shift else findings.reading
    answer = marginalise(question, findings.scored, reading, bias=bias, method=METHOD)
    if verdict and verdict.choice:
        answer = _chosen(findings, verdict, answer, _null(findings, reading, bias))
        graph = (
            _graph(findings, answer, trained)
            if answer.text is None
            else _graph_of_choice(findings, answer, verdict.compared, trained)
        )
    else:
        graph = _graph(findings, answer, trained)
    undecided = answer.text is not None and not (verdict and verdict.choice)
    note = _note(findings, undecided=undecided)
    return replace(answer, note=note, evidence=_evidence(findings, answer, graph), graph=graph)


def _null(findings: Findings, reading: Reading, bias: float) -> float:
    """p(null | x): that nothing that was read answers.

    0 where yes or no is asked: no span says either, and a reader learned to be silent there, whatever it reads.
    """
    if findings.result.form == "yes-no":
        return 0.0
    return math.exp(-log_sum([0.0, answered_log_odds(findings.log_prior, reading, bias)]))


def _chosen(findings: Findings, verdict: Verdict, answer: Answer, null: float) -> Answer:
    """The choice, as far as anything that was read answers; its evidence is the two pages, by their shares.

    It is silent where that is likelier than either side.
    """
    sides = tuple(Candidate(text=text, probability=p * (1 - null)) for text, p in verdict.choice)
    if null >= sides[0].probability:
        return replace(answer, text=None, probability=null, answers=sides, evidence=())
    on = [n for n, place in enumerate(findings.read_passages) if place.page in verdict.compared]
    total = log_sum([findings.log_prior[n] for n in on])
    evidence = tuple(
        Evidence(
            passage=findings.read_passages[n].passage,
            prior=math.exp(findings.log_prior[n]),
            posterior=math.exp(findings.log_prior[n] - total),
        )
        for n in on
    )
    return replace(answer, text=sides[0].text, probability=sides[0].probability, answers=sides, evidence=evidence)


def _note(findings: Findings, *, undecided: bool) -> str:
    notes = [] if any(node.named for node in findings.pages) else [NO_NAME]
    if not findings.edges:
        notes.append(NO_EDGE)
    if undecided and findings.result.form == "yes-no":
        notes.append(NO_VERDICT)
    if findings.result.stopped == "seconds":
        notes.append(f"The time was up after {len(findings.pages)} pages.")
    return " ".join(notes)


def _graph(findings: Findings, answer: Answer, trained: bool) -> CognitiveGraph:
    """Pages, the possible answers that are worth a node, and the path to the one that was given."""
    nodes, edges = _pages(findings)
    odds = {answer_key(one.text): one.probability for one in answer.answers}
    number: dict[str, int] = {}
    given = None if answer.text is None else answer_key(answer.text)
    stands_at = _places_of(findings, given) if given is not None else []
    wanted = [(found.key, found.text, found.place, (found.span.start, found.span.end)) for found in findings.answers]
    if given is not None and answer.text is not None and stands_at:
        place, span = stands_at[0]
        wanted.insert(0, (given, answer.text, place, span))
    for key, text, place, span in wanted:
        if key not in number:
            if odds.get(key, 0.0) < SHOWN and key != given:
                continue
            number[key] = len(nodes)
            nodes.append(
                Node(
                    id=len(nodes), kind="answer", name=text, passages=(findings.read_passages[place].passage.id,),
                    score=odds.get(key, 0.0), span=span,
                )
            )  # fmt: skip
        clue = findings.read_passages[place].sentence(span[0], odds.get(key, 0.0))
        pair = (findings.read_passages[place].page, number[key])
        if clue and pair not in edges:
            edges[pair] = (clue,)
    at = number.get(given) if given is not None else None
    path: tuple[int, ...] = ()
    if at is not None and stands_at:
        path = (*_beside(findings, findings.path_to(findings.read_passages[stands_at[0][0]].page)), at)
    return _finished(findings, nodes, edges, at, path, trained)


def _beside(findings: Findings, path: tuple[int, ...]) -> tuple[int, ...]:
    """The path, and before it the other of the two things a question names: what it says is a condition on the answer."""
    named = [node.id for node in findings.pages if node.named and node.page.kind in ("title", "heading")]
    other = [page for page in named if page not in path]
    return (*other, *path) if len(named) == 2 and len(other) == 1 else path


def _graph_of_choice(findings: Findings, answer: Answer, compared: Sequence[int], trained: bool) -> CognitiveGraph:
    """Pages, and the answer of a comparison, to which both sides lead by the sentence that says most."""
    nodes, edges = _pages(findings)
    at = len(nodes)
    read = [_best_sentence(findings, page) for page in compared]
    passages = tuple(clue.passage for clue in read if clue)
    nodes.append(Node(id=at, kind="answer", name=answer.text or "", passages=passages, score=answer.probability))
    for page, clue in zip(compared, read, strict=True):
        if clue:
            edges[page, at] = (clue,)
    return _finished(findings, nodes, edges, at, (*compared, at), trained)


def _pages(findings: Findings) -> tuple[list[Node], dict[tuple[int, int], tuple[Clue, ...]]]:
    nodes = [
        Node(
            id=node.id, kind=node.page.kind, name=node.page.name,
            passages=tuple(passage.id for passage in node.page.passages),
            seed_score=node.seed_score, visits=node.visits, score=float(share),
        )
        for node, share in zip(findings.pages, findings.shares, strict=True)
    ]  # fmt: skip
    return nodes, dict(findings.edges)


def _finished(
    findings: Findings,
    nodes: Sequence[Node],
    edges: dict[tuple[int, int], tuple[Clue, ...]],
    answer: int | None,
    path: tuple[int, ...],
    trained: bool,
) -> CognitiveGraph:
    support = {clue.place: clue for clue in _along(findings, path, edges)}
    if trained:
        for place in findings.read_passages:
            if place.page in path:
                for number, p in enumerate(place.reading.support):
                    if p >= SUPPORTS:
                        clue = place.clue(number, p)
                        support.setdefault(clue.place, clue)
    graph = CognitiveGraph(
        question=findings.result.question, nodes=tuple(nodes), answer=answer, path=path, support=tuple(support.values()),
        edges=tuple(Edge(source=s, target=t, clues=clues) for (s, t), clues in edges.items()),
    )  # fmt: skip
    graph.check()
    return graph


def _along(findings: Findings, path: Sequence[int], edges: dict[tuple[int, int], tuple[Clue, ...]]) -> list[Clue]:
    """The clues from step to step; of a page that leads neither to the next nor to the answer, what it says best."""
    clues: list[Clue] = []
    for source, target in itertools.pairwise(path):
        best = _best_sentence(findings, source)
        clues += edges.get((source, target)) or edges.get((source, path[-1])) or ([best] if best else [])
    return clues


def _places_of(findings: Findings, key: str) -> list[tuple[int, tuple[int, int]]]:
    """Where an answer stands: (place, span), likeliest first."""
    scored = []
    for span in findings.reading.spans:
        if answer_key(findings.read_passages[span.passage].passage.text[span.start : span.end]) == key:
            odds = findings.log_prior[span.passage] + span.log_odds
            scored.append((-odds, span.passage, (span.start, span.end)))
    return [(place, span) for _, place, span in sorted(scored)]


def _best_sentence(findings: Findings, page: int) -> Clue | None:
    places: list[tuple[float, ReadPassage, int]] = [
        (score, place, number)
        for place in findings.read_passages
        if place.page == page
        for number, score in enumerate(place.reading.support)
    ]
    if not places:
        return None
    score, place, number = max(places, key=lambda one: one[0])
    return place.clue(number, score)


def _evidence(findings: Findings, answer: Answer, graph: CognitiveGraph) -> tuple[Evidence, ...]:
    """The passages read, by posterior; one that only leads to the answer has its clue for a span."""
    if answer.text is None:
        return ()
    clues = {clue.origin: (clue.start, clue.end) for clue in reversed(graph.support)}
    steps = {n for n in graph.path if n != graph.answer}
    on_path = {place.passage.key for place in findings.read_passages if place.page in steps}
    known = {one.passage.key: one for one in answer.evidence}
    given = answer_key(answer.text)
    evidence = []
    for place, log_prior in zip(findings.read_passages, findings.log_prior, strict=True):
        passage = place.passage
        one = known.get(passage.key) or Evidence(passage=passage, prior=math.exp(log_prior), posterior=0.0)
        span = one.answer_span
        if span is None or answer_key(passage.text[slice(*span)]) != given:
            span = clues.get(passage.key)
        if span is not None or passage.key in on_path or one.posterior >= SHOWN:
            evidence.append(replace(one, answer_span=span))
    return tuple(sorted(evidence, key=lambda one: (-one.posterior, one.passage.key not in on_path, -one.prior)))

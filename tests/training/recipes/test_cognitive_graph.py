"""Training a cognitive graph: gold graphs, a run cut in two equals one in one piece, it learns, and query uses it."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from memptm.errors import InputError
from memptm.generation.config import ReaderConfig
from memptm.generation.reader import Reader
from memptm.generation.spans import SpanScorer
from memptm.memory.in_memory import InMemoryIndex
from memptm.reasoning.cogqa import CogQA
from memptm.reasoning.findings import Findings
from memptm.reasoning.system2 import GraphNetwork, graph_tensors
from memptm.training.data.gold_graphs import read_gold
from memptm.training.losses.both_systems import BothSystemsTask, odds_loss
from memptm.training.losses.pointers import PointerTask
from memptm.training.recipes.cognitive_graph import GraphRecipe, train_graph
from tests.encoders.tiny import bert, encoder
from tests.naive import assert_near

MAKERS = ["Ada Trent", "Tom Bass", "Ida Moss", "Sam Reed", "Eva Lund", "Max Holt"]
TOWNS = ["Hove", "Lyme", "Deal", "Rye", "Ware", "Bude"]
RECIPE = GraphRecipe(epochs=2, both=1, batch=2, negatives=1, save_every=2, nodes=3)


def row(n):
    maker, town, other = MAKERS[n], TOWNS[n], MAKERS[(n + 1) % 6]
    return {
        "id": f"q{n}",
        "question": f"In which town was the builder of Tower {n} born?",
        "answer": town,
        "type": "bridge",
        "supporting_facts": [[f"Tower {n}", 1], [maker, 0]],
        "context": [
            [other, [f"{other} sang.", " It rained."]],
            [f"Tower {n}", [f"Tower {n} is tall.", f" {maker} built Tower {n}."]],
            [maker, [f"{maker} was born in {town}.", f" {maker} never met anyone of Tower {n}."]],
        ],
    }


COMPARISON = {
    "id": "c", "question": "Are Tower 1 and Tower 2 tall?", "answer": "yes", "type": "comparison",
    "supporting_facts": [["Tower 1", 0], ["Tower 2", 0]],
    "context": [["Tower 1", ["Tower 1 is tall."]], ["Tower 2", ["Tower 2 is tall."]]],
}  # fmt: skip


def written(path, rows):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return written(tmp_path_factory.mktemp("data") / "rows.jsonl", [*map(row, range(6)), COMPARISON])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny encoder, and a reader that has it as its base."""
    folder = tmp_path_factory.mktemp("tiny")
    made = encoder(folder / "base", layers=3)
    torch.manual_seed(0)
    SpanScorer(ReaderConfig(base=str(folder / "base"), window=96, stride=32), bert(layers=3)).save(folder / "reader")
    return made, folder / "reader"


def test_gold_graphs_come_from_supporting_facts(data):
    gold = read_gold([data])
    graph = gold.graphs[0]
    assert graph.edges == {(1, 2)}
    tower, maker = graph.pages[1], graph.pages[2]
    assert [tower.passage.text[slice(*span)] for span in tower.hops] == ["Ada Trent"]
    assert [maker.passage.text[slice(*span)] for span in maker.answers] == ["Hove"]
    assert maker.clues == ("Ada Trent built Tower 0.",)
    assert (tower.support, maker.support) == ((False, True), (True, False))
    assert maker.hops == ()  # it names the tower, but the answer stands here: the chain ends
    assert graph.path
    assert not graph.pages[0].is_gold
    assert not gold.graphs[-1].path
    assert gold.graphs[-1].pages[0].answers == ()


def test_no_gold_page_leads_to_itself(data):  # F87
    for graph in read_gold([data]).graphs:
        assert all(source != target for source, target in graph.edges)
        for n, page in enumerate(graph.pages):
            assert n not in page.targets


def test_rows_whose_facts_are_not_in_the_context_are_named_and_skipped(tmp_path):
    missing = row(0) | {"id": "gone", "supporting_facts": [["Atlantis", 0], ["Tower 0", 1]]}
    beyond = row(1) | {"id": "late", "supporting_facts": [["Tower 1", 9]]}
    none = row(2) | {"id": "none", "supporting_facts": []}
    gold = read_gold([written(tmp_path / "rows.jsonl", [missing, beyond, none, row(3)])])
    assert [graph.id for graph in gold.graphs] == ["q3"]
    assert [text.split(":")[0] for text in gold.skipped] == ["gone", "late", "none"]
    assert "'Atlantis', sentence 0, is not in its context" in gold.skipped[0]


@pytest.mark.parametrize(
    "line",
    [
        '{"question": "Who?"}',
        "[1]",
        "\xe9",
        '{"question": "", "answer": "x", "supporting_facts": [], "context": []}',
        "{",
    ],
)
def test_a_line_that_is_no_row_is_named(line, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(f"\n{line}\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"rows\.jsonl line 2"):
        read_gold([path])


def test_aliases_may_be_null(tmp_path):
    (graph,) = read_gold([written(tmp_path / "rows.jsonl", [row(0) | {"answer_aliases": None}])]).graphs
    assert len(graph.answers) == 1


def test_other_data_is_not_gone_on_with(data, tiny, tmp_path):
    made, reader = tiny
    recipe = replace(RECIPE, steps=1, both=0)
    train_graph([data], tmp_path / "out", start=reader, recipe=recipe, encoder=made)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows[0]["question"] += " And why?"
    other = written(tmp_path / "other.jsonl", rows)
    with pytest.raises(InputError, match="another data set"):
        train_graph([other], tmp_path / "out", start=reader, recipe=recipe, encoder=made)


def test_without_usable_rows_there_is_an_error(tmp_path):
    path = written(tmp_path / "rows.jsonl", [row(0) | {"supporting_facts": [["Atlantis", 0]]}])
    with pytest.raises(InputError, match="None of the rows"):
        train_graph([path], tmp_path / "out", recipe=RECIPE)


def test_a_run_cut_in_two_equals_one_in_one_piece(data, tiny, tmp_path):
    made, reader = tiny
    whole = train_graph([data], tmp_path / "whole", start=reader, recipe=RECIPE, encoder=made)
    assert (whole["questions"], whole["with_path"], whole["steps"]) == (7, 6, 12)

    def stop(event):
        if (event.stage, event.done) == asked:
            os.kill(os.getpid(), signal.SIGINT)

    for asked in (("system 1", 3), ("both systems", 2)):  # noqa: B007 (stop reads it)
        with pytest.raises(KeyboardInterrupt):
            train_graph([data], tmp_path / "cut", start=reader, recipe=RECIPE, encoder=made, progress=stop)
    train_graph([data], tmp_path / "cut", start=reader, recipe=RECIPE, encoder=made)
    for name in ("system1.safetensors", "system2.safetensors"):
        one, other = (load_file(tmp_path / run / name) for run in ("whole", "cut"))
        assert_near(one, other)
    logs = [(tmp_path / run / "both" / "log.jsonl").read_text().splitlines() for run in ("whole", "cut")]
    assert_near(*([json.loads(line) for line in lines] for lines in logs))


def test_where_nothing_found_is_right_silence_is_what_is_learned():
    logits = torch.tensor([1.0, -0.5], requires_grad=True)
    nothing = odds_loss(logits, torch.tensor([False, False]))
    odds = logits.detach().exp()
    assert nothing.item() == pytest.approx(float(torch.log(1 + odds.sum())))
    nothing.backward()
    assert (logits.grad > 0).all()  # a step lowers both
    some = odds_loss(logits, torch.tensor([True, False]))
    assert some.item() == pytest.approx(float(torch.log((1 + odds.sum()) / odds[0])))


@pytest.mark.parametrize(("answer", "learned"), [("Atlantis", True), ("yes", False)])
def test_a_question_whose_walk_found_nothing_right_teaches_silence_unless_it_is_yes_or_no(data, tiny, answer, learned):
    made, reader = tiny
    graph = replace(read_gold([data]).graphs[0], answers=(answer,))
    settings = {"negatives": 1, "clues": 0.7, "dropout": 0.1, "learning_rate": 5e-5, "head_rate": 1e-3}
    task = PointerTask([graph], reader, **settings, seed=0)
    both = BothSystemsTask(task, GraphNetwork(task.pointers.width), made, pages=3, comes_again=False)
    findings = Findings(both.expand(graph, 0))
    loss = both._loss(findings, graph_tensors(findings), graph)
    assert (loss is not None) == learned
    assert both.training_step(0, [0])["answered"] == 0.0


@pytest.mark.slow
def test_it_learns_and_a_walk_uses_what_it_learned(data, tiny, tmp_path):
    made, reader = tiny
    recipe = GraphRecipe(
        epochs=60, both=2, batch=7, negatives=1, learning_rate=3e-3, head_rate=3e-3, dropout=0.0, nodes=3
    )
    result = train_graph([data], tmp_path, start=reader, recipe=recipe, encoder=made, held_out=[data])
    losses = [json.loads(line)["loss"] for line in (tmp_path / "system1" / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] / 2
    assert result["held_out"]["hop"] > 0.8
    assert result["held_out"]["support"] > 0.6
    graph = read_gold([data]).graphs[0]
    cogqa = CogQA(
        InMemoryIndex([page.passage for page in graph.pages], made), Reader.load(reader), weights=tmp_path, pages=3
    )
    answer = cogqa.answer(graph.question, k=1)
    assert answer.graph.support
    assert cogqa.systems[1] is not None

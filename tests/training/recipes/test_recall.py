"""Training a judge: it learns what is marked, or what interventions find, and resumes to the same bit."""

from __future__ import annotations

import json
import random

import pytest
import torch
from safetensors.torch import load_file

from memptm.errors import InputError
from memptm.selection.trained_scorer import Packer, ScorerConfig, TrainedScorer, new_scoring_model, reader_tokenizer
from memptm.training.data.long_texts import LongExample
from memptm.training.recipes.recall import RecallRecipe, RecallTask, cut, train_recall
from tests.generation import tiny_reader
from tests.naive import assert_near

NAMES, PLACES = ["ada", "ben", "cleo", "dan"], ["oslo", "bern"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return tiny_reader.reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Who lives in Rome, among those who do not; a line is too long for two to be one block."""
    chance, made = random.Random(0), []
    for _ in range(24):
        name, *others = chance.sample(NAMES, 4)
        lines = {one: f"{one} lives in {chance.choice(PLACES)} ." for one in others} | {name: f"{name} lives in rome ."}
        lines = {one: f"\n{line}" + f" {line.split()[3]}" * 35 for one, line in lines.items()}
        ordered = chance.sample(NAMES, 4)
        made.append(
            {
                "question": "who lives in rome ?",
                "answer": name,
                "supporting_facts": [["tower", ordered.index(name)]],
                "context": [["tower", [lines[one] for one in ordered]]],
            }
        )
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def loss_of_rome(question, texts, answers):
    """A loss of classes, not of spans."""
    return [0.1 if "rome" in text else 2.0 for text in texts]


def train(rows, reader, out, *, loss=None, resume=True, **settings):
    recipe = RecallRecipe(**{"batch": 4, "learning_rate": 2e-2, "save_every": 100, "rank": 4, **settings})
    return train_recall([rows], out, start=str(reader), recipe=recipe, loss=loss, resume=resume)


def task(rows, reader, *, loss=None, **settings):
    from memptm.training.data.long_texts import read_long

    config = ScorerConfig(reader=str(reader), fingerprint="", window=128, coarse_window=100)
    packer = Packer(reader_tokenizer(str(reader)))
    blocked = cut(list(read_long([rows])), packer)
    scores = torch.linspace(0, 1, sum(len(one.ids) for one in blocked))
    return RecallTask(
        new_scoring_model(config),
        packer,
        blocked,
        config=config,
        recipe=RecallRecipe(**settings),
        loss=loss,
        scores=scores,
    )


def test_it_learns_what_is_marked(rows, reader, tmp_path):
    result = train(rows, reader, tmp_path, epochs=5)
    assert (result["examples"], result["skipped"], result["steps"]) == (24, 0, 30)
    apart = [row["apart"] for row in result["telemetry"]]
    assert apart[-1] > 0.5 > apart[0]
    config = TrainedScorer(tmp_path).config
    assert (config.rank, config.reader) == (4, str(reader))
    texts = [f"ada lives in {place}" + f" {place}" * 20 for place in ("oslo", "bern", "rome", "oslo")]
    scores = TrainedScorer(tmp_path).score("who lives in rome ?", texts).fine(range(4))
    assert max(range(4), key=scores.__getitem__) == 2


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(rows, reader, tmp_path):  # F95
    for labels in (True, False):
        once, twice = tmp_path / f"once{labels}", tmp_path / f"twice{labels}"
        settings = {"labels": labels, "supposed": 0.3, "steps": 6}
        train(rows, reader, once, save_every=2, **settings)
        stopped = {"left": 3}

        def interrupted(event, stopped=stopped):
            if event.stage == "train":
                stopped["left"] -= 1
                if not stopped["left"]:
                    raise RuntimeError("killed")

        recipe = RecallRecipe(batch=4, learning_rate=2e-2, save_every=2, rank=4, **settings)
        with pytest.raises(RuntimeError, match="killed"):
            train_recall([rows], twice, start=str(reader), recipe=recipe, progress=interrupted)
        train(rows, reader, twice, save_every=2, **settings)
        first, second = (load_file(folder / "model.safetensors") for folder in (once, twice))
        assert_near(first, second)
        logs = [(folder / "log.jsonl").read_text().splitlines() for folder in (once, twice)]
        assert_near(*([json.loads(line) for line in lines] for lines in logs))


def test_interventions_find_what_is_not_marked(rows, reader):
    taught = task(rows, reader, loss=loss_of_rome, labels=False)
    marked = task(rows, reader).relevance
    assert not torch.equal(taught.relevance, marked)
    for step in range(1, 25):  # enough windows for every block to have been in one
        for row in range(24):
            taught.scores[taught.blocked[row].first :][: len(taught.blocked[row].ids)] = torch.rand(
                len(taught.blocked[row].ids)
            )
            taught._mend(loss_of_rome, row, random.Random(step))
    assert torch.equal(taught.relevance, marked)
    assert taught.scores.dtype == taught.relevance.dtype == torch.float32


def test_windows_hold_blocks_in_order_within_their_size(rows, reader):
    one = task(rows, reader)
    for row in range(24):
        for seed in range(10):
            span, chosen = (make(row, random.Random(seed)) for make in (one.passage_span, one.chosen))
            numbers = [n for n, _, _ in span.blocks]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert len(span.ids) <= 100
            numbers = [n for n, _, _ in chosen.blocks]
            assert numbers == sorted(set(numbers))
            assert 0 < len(chosen.ids) <= 128


def test_all_blocks_relevant_or_one_block_are_no_special_case(reader, rows):  # F91
    packer = Packer(reader_tokenizer(str(reader)))
    text = "ada lives in oslo ."
    examples = [LongExample("where ?", text, ("oslo",), ((0, len(text)),)), LongExample("who ?", text, ("bern",), ())]
    blocked = cut(examples, packer)
    assert [one.marked for one in blocked] == [[True], [False]]
    config = ScorerConfig(reader=str(reader))
    one = RecallTask(
        new_scoring_model(config),
        packer,
        blocked,
        config=config,
        recipe=RecallRecipe(),
        loss=None,
        scores=torch.zeros(2),
    )
    assert torch.isfinite(torch.tensor(one.training_step(1, [0, 1])["loss"]))


def test_hardness_is_by_float_scores(rows, reader):  # cast to integers, all of these would be equal
    one = task(rows, reader)
    row = one.blocked[0]
    count = len(row.ids)
    one.relevance[:] = 0
    one.scores[:count] = torch.linspace(0.1, 0.2, count)
    held = [one.chosen(0, random.Random(seed)).blocks for seed in range(60)]
    assert any([n for n, _, _ in blocks] == list(range(count - len(blocks), count)) for blocks in held)


def test_rows_that_teach_nothing_are_refused(tmp_path, reader):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "where ?", "context": "ada lives .", "answers": ["oslo"]}))
    for labels in (True, False):
        with pytest.raises(InputError, match="relevant"):
            train(path, reader, tmp_path / "out", labels=labels)


def test_a_checkpoint_of_another_recipe_is_refused(rows, reader, tmp_path):
    train(rows, reader, tmp_path, steps=2)
    with pytest.raises(InputError, match="another seed"):
        train(rows, reader, tmp_path, steps=2, seed=5)

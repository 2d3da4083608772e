"""Training a retriever with the index's keys left alone: it learns, goes on bit for bit, and what it makes is used by query."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from memptm import QA, Document, Memory
from memptm.encoders.two_sided import TwoSidedEncoder, query_and_passage_encoders, save_questions
from memptm.errors import InputError, MemptmError
from memptm.generation.generator import Generator
from memptm.training.data.examples import Example
from memptm.training.losses.passage_likelihood import NULL, Judge
from memptm.training.recipes.rag import RagRecipe, train_rag
from tests.generation.tiny import TEMPLATE, causal
from tests.naive import assert_near

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
PLACES = ["Hove", "Lyme", "Deal", "Rye", "Ware", "Bude", "Looe", "Fowey"]
TRADES = ["miller", "cooper", "smith", "baker"]
RECIPE = RagRecipe(batch=8, judged=2, k=3, epochs=2, save_every=2, learning_rate=2e-4)


def rows():
    """Codes that the encoder cannot know; the context says which place is meant."""
    for n, place in enumerate(PLACES):
        for m, trade in enumerate(TRADES):
            text = f"The {trade} of {place} is called {trade.title()}{n}{m}."
            yield {"question": f"name of {trade}, code Q{n}", "context": text, "answers": [f"{trade.title()}{n}{m}"]}


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    memory = Memory.open(tmp_path_factory.mktemp("rag") / "index", create=True)
    memory.add([Document(text=row["context"]) for row in rows()])
    return memory


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(causal(tmp_path_factory.mktemp("base"), template=TEMPLATE))


def losses(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_it_learns_and_query_uses_what_it_made_on_the_same_keys(memory, data, tmp_path):
    recipe = RagRecipe(batch=16, k=3, epochs=15, learning_rate=3e-4, dropout=0.0)
    result = train_rag([data], memory, tmp_path, recipe=recipe, held_out=[data])
    assert (result["steps"], result["examples"], result["skipped"], result["n"]) == (30, 32, 0, 32)
    assert result["recall"]["1"] > result["frozen"]["1"] + 0.3
    assert result["loss"] < losses(tmp_path)[0]["loss"]
    assert losses(tmp_path)[-1]["drift"] > 0.01
    assert losses(tmp_path)[-1]["negatives"] == 31  # F94: said of every step
    assert (tmp_path / "telemetry.png").is_file()
    learned = Memory.open(memory.path, encoder=str(tmp_path / "encoder"))
    assert isinstance(learned.encoder, TwoSidedEncoder)
    passages, keys = learned.keys()
    found = [learned.search(row["question"], k=1, mode="dense")[0].passage.text == row["context"] for row in rows()]
    assert np.mean(found) == pytest.approx(result["recall"]["1"], abs=0.04)
    assert len(passages) == len(keys) == 32
    learned.add([Document(text="A new passage, keyed as all others are.")])
    assert memory.search("new passage", k=1)[0].passage.text.startswith("A new passage")
    learned.remove(ids=[learned.search("new passage", k=1)[0].passage.id])


@pytest.mark.parametrize("losses_of", [("perplexity",), ("emdr2", "contrast"), ("marginal",)])
def test_a_run_cut_in_two_equals_one_in_one_piece(memory, data, base, tmp_path, losses_of):
    recipe = RagRecipe(**{**vars(RECIPE), "losses": losses_of, "steps": 5})
    train_rag([data], memory, tmp_path / "whole", generator=base, recipe=recipe)

    def stop(event):
        if event.stage == "train" and event.done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_rag([data], memory, tmp_path / "cut", generator=base, recipe=recipe, progress=stop)
    assert len(losses(tmp_path / "cut")) == 3
    train_rag([data], memory, tmp_path / "cut", generator=base, recipe=recipe)
    assert_near(losses(tmp_path / "cut"), losses(tmp_path / "whole"))
    one, other = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "cut"))
    assert_near(one, other)
    assert "utility" in losses(tmp_path / "whole")[0]


@pytest.mark.parametrize("token", [False, True])
def test_with_the_marginal_the_generators_adapter_learns_too(memory, data, base, tmp_path, token):
    recipe = RagRecipe(
        **{**vars(RECIPE), "losses": ("marginal",), "token": token, "steps": 8, "generator_learning_rate": 1e-2}
    )
    train_rag([data], memory, tmp_path, generator=base, recipe=recipe)
    record = losses(tmp_path)
    assert record[-1]["loss"] < 0.85 * record[0]["loss"]
    assert Generator.load(str(tmp_path / "generator")).name
    trained, other = ("rag-token", "rag-sequence") if token else ("rag-sequence", "rag-token")
    for method, said in ((trained, False), (other, True)):
        answer = QA(memory, method=method, generator=str(tmp_path / "generator"))("name of miller, code Q0", k=2)
        assert (f"was trained for --method {trained}" in answer.note) == said
    plain = QA(memory, method=other, generator=base)("name of miller, code Q0", k=2)  # made by no train rag
    assert "was trained for" not in plain.note
    again = RagRecipe(**{**vars(recipe), "steps": 1})
    train_rag([data], memory, tmp_path / "on", generator=str(tmp_path / "generator"), recipe=again)
    assert losses(tmp_path / "on")[0]["loss"] < record[0]["loss"]  # it went on from the adapter


def test_the_judge_scores_each_passage_alone_and_once(memory, base):
    passages, _ = memory.keys()
    generator = Generator.load(base)
    examples = [Example(row["question"], row["context"], tuple(row["answers"])) for row in list(rows())[:2]]
    judge = Judge(generator, examples, passages, frozen=True)
    table = judge([1, 0], torch.tensor([[4, NULL], [2, 3]]))
    for (row, one), value in zip([(1, [passages[4]]), (1, []), (0, [passages[2]])], table.flatten(), strict=False):
        alone = generator.log_likelihood(examples[row].question, one, examples[row].answers[0])
        assert float(value) == pytest.approx(alone, abs=1e-4)
    generator.language_model = None  # what is known is not asked again
    assert torch.equal(judge([1], torch.tensor([[NULL]])), table[:1, 1:])


@pytest.mark.parametrize("passages", [10, 32])
def test_a_collapsed_question_encoder_is_called_out_and_a_sound_one_is_not(data, tmp_path, passages):
    memory = Memory.open(tmp_path / "index", create=True)
    memory.add([Document(text=row["context"]) for row in list(rows())[:passages]])
    questions, _ = query_and_passage_encoders(memory.encoder)
    bert = questions.bert()
    with torch.no_grad():
        bert.layers[-1].output_norm.weight.zero_()  # every text is read alike
    save_questions(bert, memory.encoder, tmp_path / "collapsed")
    recipe = RagRecipe(batch=4, k=3, epochs=9, steps=12, learning_rate=5e-5)
    for encoder, alarm in ((str(tmp_path / "collapsed"), True), (None, False)):
        opened = Memory.open(tmp_path / "index", encoder=encoder)
        result = train_rag([data], opened, tmp_path / f"out{alarm}", recipe=recipe)
        assert ("nearly the same for all questions" in result["warning"]) == alarm
        assert alarm or not result["warning"]


def test_what_cannot_be_trained_is_refused_in_one_line(memory, data, tmp_path):
    def refused(match, *lines, recipe=RECIPE):
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        with pytest.raises(InputError, match=match):
            train_rag([tmp_path / "rows.jsonl"], memory, tmp_path / "out", recipe=recipe)

    refused("No row has an answer", {"question": "Who?", "answers": []})
    refused("context must be text", {"question": "Who?", "answers": "Ada"})
    refused("nothing to learn", {"question": "Who?", "answers": ["Nobody at all"], "context": "Not in the index."})
    refused("lower -k", next(rows()), recipe=RagRecipe(k=32))
    refused("add --loss marginal", next(rows()), recipe=RagRecipe(token=True))
    with pytest.raises(InputError, match="asks no generator"):
        train_rag([data], memory, tmp_path / "out", generator="nowhere", recipe=RECIPE)


def test_a_run_goes_on_with_its_own_data_index_and_generator_alone(memory, data, base, tmp_path):
    recipe = RagRecipe(**{**vars(RECIPE), "losses": ("perplexity",), "steps": 1})
    train_rag([data], memory, tmp_path / "out", generator=base, recipe=recipe)
    lines = data.read_text(encoding="utf-8").splitlines()
    (tmp_path / "rows.jsonl").write_text("\n".join(lines[1:] + lines[:1]), encoding="utf-8")
    with pytest.raises(InputError, match="another data"):
        train_rag([tmp_path / "rows.jsonl"], memory, tmp_path / "out", generator=base, recipe=recipe)
    other = str(causal(tmp_path / "other", template=TEMPLATE, seed=1))
    with pytest.raises(InputError, match="another generator"):
        train_rag([data], memory, tmp_path / "out", generator=other, recipe=recipe)
    grown = Memory.open(tmp_path / "index", create=True)
    grown.add([Document(text=row["context"]) for row in [*rows(), {"context": "A heron came later."}]])
    with pytest.raises(InputError, match="another index"):
        train_rag([data], grown, tmp_path / "out", generator=base, recipe=recipe)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(memory, data, tmp_path, monkeypatch):
    import memptm.training.recipes.rag as module

    calls = []

    def broken(scores, right, ignored):
        calls.append(1)
        return contrast(scores, right, ignored) * (float("nan") if len(calls) == 4 else 1.0)

    contrast = module.contrast
    monkeypatch.setattr(module, "contrast", broken)
    with pytest.raises(MemptmError, match="loss is nan at step 4"):
        train_rag([data], memory, tmp_path, recipe=RECIPE)
    assert (tmp_path / "checkpoint.safetensors").is_file()
    train_rag([data], memory, tmp_path, recipe=RECIPE)  # goes on from step 2
    assert [record["step"] for record in losses(tmp_path)] == list(range(1, 9))


def test_too_little_memory_says_which_setting_to_lower(memory, data, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("memptm.training.recipes.rag.contrast", full)
    with pytest.raises(MemptmError, match="Lower --batch"):
        train_rag([data], memory, tmp_path, recipe=RECIPE)

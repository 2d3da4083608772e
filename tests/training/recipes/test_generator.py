"""Training a generator's adapter: it learns, it goes on bit for bit, and what it saves loads."""

import json
import os
import signal

import pytest
from safetensors.torch import load_file

from memptm.errors import InputError
from memptm.generation.generator import Generator
from memptm.generation.prompt import NOT_THERE, PromptWriter
from memptm.training.data.examples import Example
from memptm.training.data.negatives import mine
from memptm.training.recipes.generator import Feed, GeneratorRecipe, train_generator
from memptm.training.runtime.schedule import warm_cosine
from tests.generation.tiny import TEMPLATE, causal, encoder_decoder, tokenizer
from tests.memory.toy import Toy
from tests.naive import assert_near

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eva", "Finn"]
THINGS = ["mill", "tower", "ferry", "harbour"]
RECIPE = GeneratorRecipe(layers=None, rank=4, learning_rate=5e-3, batch_tokens=1024, window=256, save_every=2, steps=6)


def rows():
    """Every name with every thing; each third question asks for what the passage does not hold."""
    for n, (name, thing) in enumerate((name, thing) for name in NAMES for thing in THINGS):
        asked = "lake" if n % 3 == 0 else thing
        answers = [] if n % 3 == 0 else [name]
        yield {"question": f"Who keeps the {asked}?", "context": f"{name} keeps the {thing}.", "answers": answers}


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(causal(tmp_path_factory.mktemp("base"), template=TEMPLATE))


def losses(folder):
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["step"], row["loss"], row["learning_rate"], row["norm"]) for row in map(json.loads, lines)]


def test_it_learns_and_what_it_saves_loads_as_a_generator(data, base, tmp_path):
    recipe = GeneratorRecipe(**{**vars(RECIPE), "steps": 30, "epochs": 20, "wrong": 0.0, "beside": (1.0, 0.0, 0.0)})
    result = train_generator([data], tmp_path / "out", start=base, recipe=recipe, held_out=[data], encoder=Toy())
    log = losses(tmp_path / "out")
    assert result["steps"] == len(log) == 30
    assert log[-1][1] < 0.6 * log[0][1]
    assert (tmp_path / "out" / "adapter_model.safetensors").stat().st_size < 100_000
    assert 0 <= result["em"] <= result["f1"] <= 1
    assert result["n"] == 24
    loaded = Generator.load(str(tmp_path / "out"))
    likelihood = loaded.log_likelihood("Who keeps the lake?", [], NOT_THERE)
    assert likelihood > Generator.load(base).log_likelihood("Who keeps the lake?", [], NOT_THERE) + 1


def test_a_run_cut_in_two_equals_one_in_one_piece(data, base, tmp_path):
    whole = train_generator([data], tmp_path / "whole", start=base, recipe=RECIPE, encoder=Toy())

    def stop(event):
        if event.stage == "train" and event.done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_generator([data], tmp_path / "cut", start=base, recipe=RECIPE, encoder=Toy(), progress=stop)
    assert len(losses(tmp_path / "cut")) == 3  # the step at hand was finished, and saved
    cut = train_generator([data], tmp_path / "cut", start=base, recipe=RECIPE, encoder=Toy())
    assert_near(losses(tmp_path / "cut"), losses(tmp_path / "whole"))
    assert_near(cut["loss"], whole["loss"])
    one, other = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "cut"))
    assert_near(one, other)


def test_a_checkpoint_of_another_recipe_is_refused(data, base, tmp_path):
    train_generator([data], tmp_path, start=base, recipe=GeneratorRecipe(**{**vars(RECIPE), "steps": 1}), encoder=Toy())
    other = GeneratorRecipe(**{**vars(RECIPE), "steps": 1, "learning_rate": 1e-3})
    with pytest.raises(InputError, match="learning_rate"):
        train_generator([data], tmp_path, start=base, recipe=other, encoder=Toy())
    train_generator([data], tmp_path, start=base, recipe=other, encoder=Toy(), resume=False)


def test_an_encoder_decoder_is_trained_too(data, tmp_path):
    base = str(encoder_decoder(tmp_path / "base"))
    recipe = GeneratorRecipe(**{**vars(RECIPE), "steps": 6, "epochs": 5})
    train_generator([data], tmp_path / "out", start=base, recipe=recipe, encoder=Toy())
    log = losses(tmp_path / "out")
    assert log[-1][1] < log[0][1]
    Generator.load(str(tmp_path / "out"))


def test_rows_with_long_answers_alone_are_refused(base, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "Why?", "context": "a b c d e f g h", "answers": ["a b c d e f g h"]}))
    with pytest.raises(InputError, match="short answers"):
        train_generator([path], tmp_path / "out", start=base, encoder=Toy())


def feed(recipe):
    examples = [Example(row["question"], row["context"], tuple(row["answers"])) for row in rows()]
    passages, nearest = mine(examples, Toy(), per_question=4)
    return Feed(examples, passages, nearest, PromptWriter(tokenizer(template=TEMPLATE), window=512), recipe), examples


def test_the_plan_is_the_same_each_time_and_another_in_each_epoch():
    recipe = GeneratorRecipe(epochs=2, batch_tokens=1024)
    first, second = feed(recipe)[0].plan(), feed(recipe)[0].plan()
    assert first == second
    half = len(first) // 2
    assert first[:half] != first[half:]


def test_a_question_with_wrong_passages_alone_is_answered_with_the_phrase():
    made, _ = feed(GeneratorRecipe(wrong=1.0, beside=(0.0, 1.0, 0.0), window=512))
    phrase = made.writer.answer_ids(NOT_THERE)
    assert all(pair.answer == phrase for step in made.plan() for pair in step)


def test_no_example_is_longer_than_the_window_and_no_step_than_its_tokens():
    recipe = GeneratorRecipe(window=200, batch_tokens=512, beside=(0.0, 0.0, 1.0))
    steps = feed(recipe)[0].plan()
    assert all(len(pair) <= 200 for step in steps for pair in step)
    assert all(len(step) == 1 or len(step) * max(map(len, step)) <= 512 for step in steps)


def test_the_rate_rises_then_falls_to_two_percent():
    rates = [warm_cosine(step, 100, 0.1) for step in range(1, 101)]
    assert rates[9] == max(rates) == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.02)

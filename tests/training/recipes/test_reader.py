"""Training a reader: it learns, it resumes to the same bit, and it says what it cannot use."""

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel

from memptm.errors import InputError
from memptm.generation.config import ReaderConfig
from memptm.generation.reader import Reader
from memptm.training.data.examples import Example, occurrences, read_examples
from memptm.training.data.negatives import mine
from memptm.training.data.token_spans import gold_spans
from memptm.training.recipes import reader as training
from memptm.training.recipes.reader import ReaderRecipe, train_reader
from memptm.types import Passage
from tests.memory.toy import Toy
from tests.naive import assert_near

NAMES = ["ada", "ben", "cleo", "dan", "eva", "finn"]
PLACES = ["rome", "oslo", "bern", "riga"]
WORDS = [*NAMES, *PLACES, "lives", "in", "where", "does", "live", "who", "and", "the", ".", "?"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A BERT of two small layers with a vocabulary of words."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """Who lives where, and two questions whose passage does not say."""
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    rows = []
    for name in NAMES:
        for place in PLACES:
            context = f"{name} lives in {place} ."
            rows.append({"question": f"where does {name} live ?", "context": context, "answers": [place]})
        rows.append({"question": "who lives in oslo ?", "context": f"{name} lives in rome .", "answers": []})
    rows.append({"question": "who lives in oslo ?", "context": "ada lives in rome .", "answers": ["finn"]})
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    return path


def train(base, questions, out, **recipe):
    config = ReaderConfig(base=str(base), window=48, stride=8, span_tokens=4, span_width=16)
    recipe = ReaderRecipe(**{"batch_tokens": 256, "learning_rate": 3e-3, "dropout": 0.1, "save_every": 5, **recipe})
    return train_reader([questions], out, recipe=recipe, config=config, encoder=Toy(dimension=32))


def test_it_learns_where_answers_stand_and_when_there_are_none(base, questions, tmp_path):
    report = train(base, questions, tmp_path, epochs=25, average=0.9, negatives=0.0)
    assert report["skipped"] == 1  # its answer stands nowhere in its context
    reader = Reader.load(tmp_path)

    def ask(question, text):
        return reader.answer(question, [Passage(id="a", document="a", text=text, start=0, end=len(text))]).text

    assert ask("where does cleo live ?", "cleo lives in bern .") == "bern"
    assert ask("who lives in oslo ?", "ada lives in rome .") is None
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < log[0]["loss"]


def test_stopping_and_going_on_gives_the_same_weights(base, questions, tmp_path, monkeypatch):
    train(base, questions, tmp_path / "whole", epochs=4)
    step = training.ReaderTask.training_step

    def stop_after_seven(task, number, rows):
        if number == 8:
            raise KeyboardInterrupt
        return step(task, number, rows)

    monkeypatch.setattr(training.ReaderTask, "training_step", stop_after_seven)
    with pytest.raises(KeyboardInterrupt):
        train(base, questions, tmp_path / "halves", epochs=4)
    monkeypatch.setattr(training.ReaderTask, "training_step", step)
    train(base, questions, tmp_path / "halves", epochs=4)
    whole, halves = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "halves"))
    assert_near(whole, halves)


def test_ctrl_c_ends_after_the_step_at_hand_and_loses_nothing(base, questions, tmp_path):
    config = ReaderConfig(base=str(base), window=48, stride=8, span_tokens=4, span_width=16)
    seen = []

    def stop_at_three(event):
        if event.stage == "train":
            seen.append(event.done)
            if event.done == 3:
                os.kill(os.getpid(), signal.SIGINT)

    recipe = ReaderRecipe(batch_tokens=256, epochs=2, save_every=100)
    with pytest.raises(KeyboardInterrupt):
        train_reader(
            [questions], tmp_path, recipe=recipe, config=config, encoder=Toy(dimension=32), progress=stop_at_three
        )
    assert seen[-1] == 3
    train_reader([questions], tmp_path, recipe=recipe, config=config, encoder=Toy(dimension=32), progress=stop_at_three)
    assert seen[3] == 4


def test_a_run_of_another_recipe_is_not_gone_on_with(base, questions, tmp_path):
    train(base, questions, tmp_path, epochs=1)
    with pytest.raises(InputError, match="another learning_rate"):
        train(base, questions, tmp_path, epochs=1, learning_rate=1e-3)


def test_steps_end_a_run_early(base, questions, tmp_path):
    assert train(base, questions, tmp_path, epochs=3, steps=2)["steps"] == 2


def test_token_spans_are_exactly_the_answer_or_nothing(base):
    feed = training.Feed([], [], None, ReaderConfig(base=str(base), window=48, stride=8), ReaderRecipe())
    text = "ada lives in rome . ada lives in oslo ."
    window = feed.windower.windows(["who ?"], [""], [text])[0]
    gold = gold_spans([window], [occurrences(["ada"], text)], 32, 4)[0]
    places = [text[window.offsets[i, 0] : window.offsets[i + n, 1]] for i, n in gold.nonzero().tolist()]
    assert places == ["ada", "ada"]
    assert not gold_spans([window], [[(1, 3)]], 32, 4).any()


def test_hard_negatives_hold_no_answer_and_are_never_the_own_passage():
    examples = [
        Example("where is ada ?", "ada is in rome", ("rome",)),
        Example("where is ada now ?", "ada is now in rome too", ("rome",)),
        Example("where is ben ?", "ben is in oslo", ("oslo",)),
        Example("where is cleo ?", "cleo is in oslo", ("oslo",)),
    ]
    passages, nearest = mine(examples, Toy(dimension=32), per_question=3)
    for example, row in zip(examples, nearest, strict=True):
        for n in row[row >= 0]:
            assert passages[n] != example.context
            assert not occurrences(example.answers, passages[n])
    assert (nearest >= 0).sum(1).tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("answers", "text", "expected"),
    [
        (["May"], "may I? In May.", ["May"]),
        (["may"], "May I?", ["May"]),
        (["10"], "in 1910 and 10", ["10"]),
        (["C++"], "C++ or C", ["C++"]),
        (["", "  "], "anything", []),
    ],
)
def test_answers_are_found_as_whole_words(answers, text, expected):
    assert [text[s:e] for s, e in occurrences(answers, text)] == expected


@pytest.mark.parametrize(
    "line", ["{oops", '{"question": "a?"}', '{"question": "", "context": "b", "answers": []}', "[1]"]
)
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "a?", "context": "b", "answers": ["b"]}\n\n' + line)
    with pytest.raises(InputError, match="line 3"):
        list(read_examples([path]))


def test_rows_without_any_answer_teach_nothing(base, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "a?", "context": "b", "answers": ["c"]}\n')
    with pytest.raises(InputError, match="answer"):
        train(base, path, tmp_path / "out")

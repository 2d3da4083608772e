"""A language model with memory is trained on streams, goes on bit for bit, and is measured with other memory lengths."""

import json
import math
import os
import signal

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

from memptm import Document, Memory
from memptm.errors import InputError, MemptmError
from memptm.training.data.corpus import END, Streams, encoded, make_vocabulary, read_texts
from memptm.training.recipes import language_model
from memptm.training.recipes.language_model import LanguageModelRecipe, evaluate, token_losses, train_language_model
from memptm.working.adaptive import IGNORED
from memptm.working.product_keys import ProductKeyMemory
from memptm.working.transformer_xl import TransformerXL, TransformerXLConfig
from tests.memory.toy import Toy
from tests.naive import assert_near

SIZES = TransformerXLConfig(vocabulary=0, width=24, layers=2, heads=2, head_width=12, inner=48, mem_len=12, dropout=0.1)
RECIPE = LanguageModelRecipe(model=SIZES, size=300, rows=2, segment=8, steps=6, save_every=2, learning_rate=5e-3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two texts in which what comes next is settled by what came eleven words before."""
    folder = tmp_path_factory.mktemp("texts")
    words = ["the", "otter", "swims", "under", "green", "kelp", "while", "seven", "gulls", "watch", "closely", "and"]
    for n in range(2):
        (folder / f"{n}.txt").write_text(" ".join(words[n:] + words * 40), encoding="utf-8")
    return [folder / "0.txt", folder / "1.txt"]


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_word_vocabulary_puts_the_frequent_first_and_bpe_knows_every_text():
    texts = ["a b a c a b unusual", "a b"]
    words = make_vocabulary(texts, "word", 5)
    assert [words.id_to_token(n) for n in range(4)] == ["<unknown>", END, "a", "b"]
    assert encoded(words, ["a zebra"]) == [[2, 0, 1]]
    parts = make_vocabulary(texts, "bpe", 280)
    assert parts.decode(parts.encode("Zebra ☃ a b").ids) == "Zebra ☃ a b"


def test_segments_go_on_where_the_last_ended_and_no_target_crosses_documents():
    documents = [[*range(10, 17), 0], [*range(20, 29), 0], [*range(30, 33), 0]]
    streams = Streams(documents, rows=2, segment=4)
    whole = torch.cat([one.ids for one in streams], dim=1)
    flat = [token for document in documents for token in document]
    assert whole[0].tolist() == flat[: whole.shape[1]]
    assert whole[1].tolist() == flat[11 : 11 + whole.shape[1]]
    for one in streams:
        assert one.ids.shape == one.targets.shape == one.documents.shape
        for row in range(2):
            for token, target in zip(one.ids[row].tolist(), one.targets[row].tolist(), strict=True):
                assert (target == IGNORED) == (token == 0)
                assert target in (IGNORED, 0) or target == token + 1
    assert len(streams) == 3
    with pytest.raises(InputError, match="lower --batch or --segment"):
        Streams(documents, rows=4, segment=40)


def test_it_learns_and_its_memory_makes_it_read_better(files, tmp_path):
    recipe = LanguageModelRecipe(**{**vars(RECIPE), "vocabulary": "word", "steps": 100, "epochs": 9})
    told = train_language_model(files, tmp_path, recipe=recipe, held_out=[files[0]], memories=[0, 12, 24])
    assert told["loss"] < 0.6 * log(tmp_path)[0]["loss"]
    without, trained, longer = told["held_out"]
    assert (without["memory"], trained["memory"], longer["memory"]) == (0, 12, 24)
    assert trained["perplexity"] < without["perplexity"]
    assert trained["tokens"] == without["tokens"] == longer["tokens"]
    model = TransformerXL.load(tmp_path)
    vocabulary = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    again = evaluate(model, encoded(vocabulary, read_texts([files[0]])), memory=12, segment=8)
    assert again["perplexity"] == pytest.approx(trained["perplexity"], rel=1e-3)
    assert (tmp_path / "telemetry.png").is_file()


@pytest.mark.parametrize("external", [0, 20])
def test_a_run_cut_in_two_equals_one_in_one_piece(files, tmp_path, external):
    model = TransformerXLConfig(**{**vars(SIZES), "memorizing": (1,) if external else (), "retrieved": 4})
    recipe = LanguageModelRecipe(**{**vars(RECIPE), "external": external, "model": model})
    train_language_model(files, tmp_path / "whole", recipe=recipe)

    def stop(event):
        if event.stage == "train" and event.done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_language_model(files, tmp_path / "cut", recipe=recipe, progress=stop)
    train_language_model(files, tmp_path / "cut", recipe=recipe)
    assert_near(log(tmp_path / "cut"), log(tmp_path / "whole"))
    one, other = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "cut"))
    assert_near(one, other)
    assert one["more/layers"].shape == (2, 2, 12, 24)  # the state goes on too
    assert (tmp_path / "cut" / "arithmetic.json").is_file()
    with pytest.raises(InputError, match=r"another number of rows.* Give another --out, or remove the folder"):
        train_language_model(files, tmp_path / "cut", recipe=LanguageModelRecipe(**{**vars(recipe), "rows": 1}))


def test_external_memory_reaches_further_back_within_a_document_alone():
    made = TransformerXL(
        TransformerXLConfig(**{**vars(SIZES), "vocabulary": 40, "memorizing": (1,), "retrieved": 4})
    ).eval()
    made.memorizing["1"].gate.data.fill_(2.0)  # a new gate is nearly closed
    documents = [[n % 37 for n in range(90)], [n % 11 for n in range(60)]]
    without, _ = token_losses(made, documents, memory=4, segment=8)
    short, _ = token_losses(made, documents, memory=4, segment=8, external=16)
    long, _ = token_losses(made, documents, memory=4, segment=8, external=64)
    graph, _ = token_losses(made, documents, memory=4, segment=8, external=64, exact=False)
    assert_near(short[:7], without[:7])  # nothing is stored yet
    assert not torch.allclose(short, without, atol=1e-4)
    assert not torch.allclose(short[40:80], long[40:80], atol=1e-4)
    assert torch.allclose(graph, long, atol=1e-4)
    assert_near(short[89:95], without[89:95])  # a new document begins with an empty memory


def test_held_out_text_is_read_with_the_external_memory_of_training(files, tmp_path):
    model = TransformerXLConfig(**{**vars(SIZES), "memorizing": (1,), "retrieved": 4})
    recipe = LanguageModelRecipe(**{**vars(RECIPE), "external": 20, "model": model})
    told = train_language_model(files, tmp_path, recipe=recipe, held_out=[files[0]])
    vocabulary = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    documents, made = encoded(vocabulary, read_texts([files[0]])), TransformerXL.load(tmp_path)
    with_it, without = (evaluate(made, documents, memory=12, segment=8, external=n)["perplexity"] for n in (20, 0))
    assert told["held_out"][0]["perplexity"] == with_it != without


def test_losses_do_not_depend_on_the_segment_while_the_memory_holds_all(files):
    torch.manual_seed(0)
    made = TransformerXL(TransformerXLConfig(**{**vars(SIZES), "vocabulary": 40, "dropout": 0.0})).eval()
    documents = [[n % 37 for n in range(50)], [n % 11 for n in range(30)]]
    short, _ = token_losses(made, documents, memory=99, segment=3)
    long, _ = token_losses(made, documents, memory=99, segment=20)
    assert len(short) == 78  # each document's first token is not predicted
    assert torch.allclose(short, long, atol=1e-4)
    assert made.mem_len == 12


def test_a_product_key_memory_takes_the_place_of_a_feed_forward_part(files, tmp_path):
    parts = {1: ProductKeyMemory(24, sub_keys=8, heads=2, key_width=8, top=4, query_norm="rms")}
    told = train_language_model(files, tmp_path, recipe=RECIPE, parts=parts)
    assert math.isfinite(told["loss"])
    assert parts[1].telemetry()["usage"] > 0
    again = TransformerXL.load(
        tmp_path, parts={1: ProductKeyMemory(24, sub_keys=8, heads=2, key_width=8, top=4, query_norm="rms")}
    )
    assert torch.equal(again.layers[1].feed_forward.keys, parts[1].keys)


def slots(**choices):
    torch.manual_seed(5)
    return {1: ProductKeyMemory(24, **{"sub_keys": 8, "heads": 2, "key_width": 8, "top": 4, **choices})}


def test_the_statistics_of_a_part_are_in_the_checkpoint(files, tmp_path):
    train_language_model(files, tmp_path, recipe=RECIPE, parts=slots())
    first = load_file(tmp_path / "model.safetensors")
    train_language_model(files, tmp_path, recipe=RECIPE, parts=slots())  # it is finished
    second = load_file(tmp_path / "model.safetensors")
    assert float(first["layers.1.feed_forward.norm.running_mean"].abs().sum()) > 0
    assert all(first[name].equal(second[name]) for name in first)


def test_a_run_with_other_parts_is_another_run(files, tmp_path):
    train_language_model(files, tmp_path, recipe=RECIPE, parts=slots())
    with pytest.raises(InputError, match="another parts"):
        train_language_model(files, tmp_path, recipe=RECIPE, parts=slots(top=2))


def test_values_learn_at_a_constant_rate_and_their_use_is_logged_and_goes_on(files, tmp_path, monkeypatch):
    monkeypatch.setattr(language_model, "COUNTED", 2)
    rates = []
    step = torch.optim.AdamW.step

    def spied(optimizer, *given):
        rates.append([(group["lr"], group["weight_decay"]) for group in optimizer.param_groups])
        return step(optimizer, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", spied)
    train_language_model(files, tmp_path / "whole", recipe=RECIPE, parts=slots())
    assert {one[2] for one in rates} == {(1e-3, 0.0)}
    assert len({one[0] for one in rates}) > 1
    assert [("usage" in line, "kl" in line) for line in log(tmp_path / "whole")] == [(False, False), (True, True)] * 3

    def stop(event):
        if event.stage == "train" and event.done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_language_model(files, tmp_path / "cut", recipe=RECIPE, parts=slots(), progress=stop)
    train_language_model(files, tmp_path / "cut", recipe=RECIPE, parts=slots())
    assert_near(log(tmp_path / "cut"), log(tmp_path / "whole"))


def test_sparse_gradients_are_refused(files, tmp_path):
    with pytest.raises(InputError, match="sparse=False"):
        train_language_model(files, tmp_path, recipe=RECIPE, parts=slots(sparse=True))


def test_a_checkpoint_that_is_cut_or_of_another_model_is_refused(files, tmp_path):
    train_language_model(files, tmp_path, recipe=RECIPE)
    path = tmp_path / "checkpoint.safetensors"
    whole, tensors = path.read_bytes(), load_file(path)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    for name, changed, said in (
        ("weight/u", tensors["weight/u"][:, :1].clone(), "u is"),
        ("weight/other", tensors.pop("weight/v"), "no 'weight/v'"),
    ):
        save_file(tensors | {name: changed}, path, metadata=about)
        with pytest.raises(InputError, match=f"cannot be gone on from \\({said}.*Give another --out"):
            train_language_model(files, tmp_path, recipe=RECIPE)
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="cannot be gone on from"):
        train_language_model(files, tmp_path, recipe=RECIPE)


def test_absolute_positions_are_there_to_compare_with(files, tmp_path):
    recipe = LanguageModelRecipe(
        **{**vars(RECIPE), "model": TransformerXLConfig(**{**vars(SIZES), "positions": "absolute"})}
    )
    told = train_language_model(files, tmp_path, recipe=recipe, held_out=[files[1]])
    assert math.isfinite(told["held_out"][0]["perplexity"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_is_trained_on_the_gpu_and_goes_on_there(files, tmp_path):
    assert math.isfinite(train_language_model(files, tmp_path, recipe=RECIPE, parts=slots())["loss"])
    told = train_language_model(files, tmp_path, recipe=RECIPE, parts=slots(), held_out=files)
    vocabulary = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    made = TransformerXL.load(tmp_path, parts=slots())
    here = evaluate(made, encoded(vocabulary, read_texts(files)), memory=12, segment=8)
    assert here["perplexity"] == pytest.approx(told["held_out"][0]["perplexity"], rel=1e-2)


def test_an_index_is_text_too(tmp_path):
    memory = Memory.open(tmp_path / "index", create=True, encoder=Toy())
    memory.add([Document(text="The otter swims. " * 60), Document(text="Kelp grows in cold water. " * 40)])
    told = train_language_model([], tmp_path / "out", index=tmp_path / "index", recipe=RECIPE)
    assert told["steps"] == 6


def test_the_text_of_an_index_has_each_word_once(tmp_path):
    memory = Memory.open(tmp_path / "index", create=True, encoder=Toy())
    texts = [" ".join(f"Otter {n} of {name} swims." for n in range(150)) for name in ("north", "south")]
    memory.add([Document(text=text, source=str(n)) for n, text in enumerate(texts)])
    assert len(list(memory.passages())) > 4
    assert language_model._texts_of(tmp_path / "index") == texts


def test_a_run_that_could_not_begin_leaves_no_vocabulary_behind(files, tmp_path):
    (tmp_path / "short.txt").write_text("too short")
    out = tmp_path / "out"
    with pytest.raises(InputError, match="too few"):
        train_language_model([tmp_path / "short.txt"], out)
    assert not (out / "tokenizer.json").exists()
    told = train_language_model(files, out, recipe=RECIPE)
    vocabulary = Tokenizer.from_file(str(out / "tokenizer.json"))
    assert vocabulary.get_vocab_size() == TransformerXL.load(out).config.vocabulary
    assert told["steps"] == 6
    with pytest.raises(InputError, match="another size"):
        train_language_model(files, out, recipe=LanguageModelRecipe(**{**vars(RECIPE), "size": 290}))
    (out / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer.json cannot be read. Give another --out"):
        train_language_model(files, out, recipe=RECIPE)


def test_a_foreign_vocabulary_is_refused():
    with pytest.raises(InputError, match="knows no <end>"):
        encoded(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), ["a"])


def test_steps_are_at_most_those_of_the_epochs(files, tmp_path):
    recipe = LanguageModelRecipe(**{**vars(RECIPE), "rows": 1, "segment": 100, "steps": 1000})
    once = len(log(tmp_path)) if train_language_model(files, tmp_path, recipe=recipe) else 0
    assert 0 < once < 1000


def test_held_out_text_is_read_before_training(files, tmp_path):
    (tmp_path / "picture.txt").write_bytes(b"\xff\xfe\x00\x80")
    (tmp_path / "short.txt").write_text("kelp")
    for name, said in (("picture.txt", "UTF-8"), ("short.txt", r"1 stream in .* or lower --segment\.")):
        with pytest.raises(InputError, match=said):
            train_language_model(files, tmp_path / "out", recipe=RECIPE, held_out=[tmp_path / name])
    with pytest.raises(InputError, match="Give --held-out"):
        train_language_model(files, tmp_path / "out", recipe=RECIPE, memories=[4])
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_be_measured_keeps_its_memory_length():
    made = TransformerXL(TransformerXLConfig(**{**vars(SIZES), "vocabulary": 40}))
    with pytest.raises(InputError, match="too few"):
        token_losses(made, [[1, 2]], memory=99, segment=8)
    assert made.mem_len == 12


def test_text_of_another_vocabulary_is_refused():
    made = TransformerXL(TransformerXLConfig(**{**vars(SIZES), "vocabulary": 40, "cutoffs": (10,)}))
    with pytest.raises(InputError, match="word 41, and the model knows 40"):
        token_losses(made, [[41, *range(30)]], memory=9, segment=8)
    with pytest.raises(InputError, match="word 41, and the model knows 40"):
        next(made.generate(torch.tensor([[41]])))


def test_gradients_that_are_no_numbers_stop_the_run_and_spoil_nothing(files, tmp_path, monkeypatch):
    made = []
    clipped = torch.nn.utils.clip_grad_norm_

    def spoiled(parameters, clip):
        made.append(parameters)
        if len(made) == 3:
            parameters[0].grad.fill_(math.inf)
        return clipped(parameters, clip)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoiled)
    with pytest.raises(MemptmError, match="norm is inf at step 3"):
        train_language_model(files, tmp_path, recipe=RECIPE)
    assert all(bool(one.isfinite().all()) for one in made[0])
    assert len(log(tmp_path)) == 2


def test_what_cannot_be_read_is_said_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match="nothing to learn from"):
        train_language_model([], tmp_path / "out")
    (tmp_path / "picture.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="UTF-8"):
        train_language_model([tmp_path / "picture.txt"], tmp_path / "out")
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(InputError, match="holds no text"):
        train_language_model([tmp_path / "empty.txt"], tmp_path / "out")
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(InputError, match="too few for 16 streams"):
        train_language_model([tmp_path / "short.txt"], tmp_path / "out")

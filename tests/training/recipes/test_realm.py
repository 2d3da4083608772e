"""REALM: the loss is the marginal over documents, both sides learn, runs go on bit for bit, query uses what was made."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from memptm import QA, Document, Memory
from memptm.encoders.load import load_encoder
from memptm.errors import InputError
from memptm.generation.reader import SHIPPED, Reader, marginalise, scored
from memptm.generation.spans import SpanScorer
from memptm.generation.windows import load_tokenizer
from memptm.training.data.candidates import Candidates
from memptm.training.data.examples import Example
from memptm.training.data.masks import Blank
from memptm.training.data.pairs import Pair, inverse_cloze
from memptm.training.losses.joint import JointTask
from memptm.training.losses.masked_reader import Clozer, MaskedReader
from memptm.training.losses.pairs import PairTask
from memptm.training.losses.salient import NULL, MaskedSpanTask
from memptm.training.recipes.realm import RealmRecipe, train_realm
from memptm.training.runtime.loop import fit, shuffled
from memptm.training.runtime.refresh import Versions
from memptm.training.runtime.run import Run
from memptm.training.runtime.trainable_encoder import TrainableEncoder
from tests.encoders.tiny import encoder as tiny
from tests.encoders.tiny_recurrent import recurrent
from tests.naive import assert_near

PLACES = ["Hove", "Lyme", "Deal", "Rye", "Ware", "Bude", "Looe", "Fowey", "Hythe", "Wells", "Truro"]
NAMES = ["Anna Miller", "Peter Cook", "Laura Smith", "James Baker"]
RECIPE = RealmRecipe(pairs=8, batch=2, k=3, steps=5, refresh_every=2, save_every=3, epochs=1)


def documents():
    for n, place in enumerate(PLACES):
        name = NAMES[n % len(NAMES)]
        text = (
            f"{name} lives in {place} near the old harbour. The mill of {place} was built in {1700 + n} by her uncle."
        )
        yield Document(text=text, id=place)


def rows():
    for n, place in enumerate(PLACES):
        question = f"In what year was the mill of {place} built?"
        yield {"question": question, "answers": [str(1700 + n)], "context": list(documents())[n].text}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def memory(tmp_path_factory, encoder):
    memory = Memory.open(tmp_path_factory.mktemp("realm") / "index", create=True, encoder=str(encoder.folder))
    memory.add(list(documents()))
    return memory


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    return path


@pytest.fixture
def masked(encoder, memory):
    """A task over ten documents that reads all of them, the null document too."""
    passages, keys = memory.keys()
    passages, keys = passages[:10], keys[:10]
    torch.manual_seed(0)
    trainable = TrainableEncoder(encoder, dropout=0.0)
    reader = MaskedReader(trainable.before()).eval()
    for parameter in (*reader.trunk.layers.parameters(), *reader.trunk.norm.parameters()):
        parameter.requires_grad_(True)
    sentence = passages[3].text
    start = sentence.index("The mill")
    blanks = [
        Blank(3, start, len(sentence), ((sentence.index("built"), sentence.index(" by")),)),
        Blank(4, 0, 30, ((0, 11),)),
    ]
    return MaskedSpanTask(
        trainable,
        reader,
        Clozer(load_tokenizer(encoder.folder), passage_tokens=64),
        blanks,
        passages,
        Versions(torch.from_numpy(keys)),
        k=11,
        null=True,
        same_document=False,
        temperature=0.1,
        learning_rates=(1e-3, 1e-3, 1e-3),
        seed=0,
    )


def enumerated(task, row):
    """−log p(y|x) of one sentence, document by document, in float64 from the scores on."""
    blank, cloze = task.rows[row]
    query = task.trainable([task.clozer.query(cloze)])[0]
    scores, likelihoods = [], []
    for document in [NULL, *(n for n in range(10) if n != blank.passage)]:
        ids = [101, 102] if document == NULL else task.trainable.encoder.token_ids([task.passages[document].text])[0]
        scores.append((query @ task.trainable([ids])[0]).double() / 0.1)
        likelihoods.append(task.read(cloze, [document])[0].double())
    normaliser = sum(score.exp() for score in scores)
    probability = sum(s.exp() / normaliser * p.exp() for s, p in zip(scores, likelihoods, strict=True))
    return -probability.log(), torch.stack(scores), torch.stack(likelihoods)


def test_loss_and_gradients_equal_explicit_enumeration_over_ten_documents(masked):
    masked.candidates.choose = lambda blank, ranked, count: [n for n in ranked if n != blank.passage][:count]
    numbers = masked.training_step(1, [0, 1])
    ours = {name: p.grad.clone() for name, p in masked.model.named_parameters() if p.grad is not None}
    masked.model.zero_grad()
    loss = sum(enumerated(masked, row)[0] for row in (0, 1)) / 2
    loss.backward()
    assert numbers["loss"] == pytest.approx(float(loss.detach()), abs=1e-4)
    theirs = {name: p.grad for name, p in masked.model.named_parameters() if p.grad is not None}
    assert ours.keys() == theirs.keys()
    assert any(name.startswith("encoder.") for name in ours)
    for name, gradient in ours.items():
        assert torch.allclose(gradient, theirs[name], atol=2e-5, rtol=2e-3), name


def test_the_gradient_by_a_documents_score_is_prior_minus_posterior(masked):
    _, scores, likelihoods = enumerated(masked, 0)
    leaf = scores.detach().requires_grad_()
    (-(leaf.log_softmax(0) + likelihoods.detach()).logsumexp(0)).backward()
    prior, posterior = leaf.softmax(0), (leaf.log_softmax(0) + likelihoods).softmax(0)
    assert torch.allclose(leaf.grad, (prior - posterior).detach(), atol=1e-9)


def test_the_document_is_summed_out_once_a_span_not_once_a_token(masked):
    _, cloze = masked.rows[0]
    assert len(cloze.hidden) > 1
    loss, scores, likelihoods = enumerated(masked, 0)
    once_a_span = (scores.log_softmax(0) + likelihoods).logsumexp(0)
    assert float(-once_a_span.detach()) == pytest.approx(float(loss.detach()), abs=1e-9)
    masked.candidates.choose = lambda blank, ranked, count: [n for n in ranked if n != blank.passage][:count]
    assert masked.training_step(1, [0])["loss"] == pytest.approx(float(loss.detach()), abs=1e-4)


def test_passages_that_give_the_sentence_away_are_not_read_and_the_null_document_is(masked):
    queries = torch.randn(2, 32)
    found = masked.find(masked.rows, queries, masked.keys.at(1)[0])
    assert all(documents[0] == NULL for documents in found)
    assert 3 not in found[0]
    assert 4 not in found[1]
    masked.null, masked.k = False, 2
    assert [len(documents) for documents in masked.find(masked.rows, queries, masked.keys.at(1)[0])] == [2, 2]
    masked.training_step(1, [0, 1])


def test_a_sentence_of_a_long_document_reads_the_others_however_near_its_own_are(masked, monkeypatch):
    monkeypatch.setattr("memptm.training.losses.salient.LOOK", 3)
    own = [replace(one, document="long") if n in (3, 5, 6, 7) else one for n, one in enumerate(masked.passages)]
    masked.candidates = Candidates(own, same_document=False)
    keys = torch.eye(10, 32)
    keys[[3, 5, 6, 7]] = 1.0
    (found,) = masked.find(masked.rows[:1], torch.ones(1, 32), keys)
    assert len(found) == 4
    assert not {3, 5, 6, 7} & set(found)


def test_a_step_whose_sentences_find_nothing_reads_the_null_document(masked):
    masked.candidates.choose = lambda blank, ranked, count: []
    assert masked.training_step(1, [0, 1])["null"] == 1


def test_utility_is_the_gain_over_reading_nothing(masked):
    masked.candidates.choose = lambda blank, ranked, count: [n for n in ranked if n != blank.passage][:count]
    loss, _, likelihoods = enumerated(masked, 0)
    assert masked.training_step(1, [0])["utility"] == pytest.approx(
        float(-loss.detach() - likelihoods[0].detach()), abs=1e-4
    )


def pair_task(encoder, memory, pairs, *, hard=1, learning_rate=1e-3):
    passages, keys = memory.keys()
    texts = [passage.text for passage in passages]
    versions = Versions(torch.from_numpy(keys))
    trainable = TrainableEncoder(encoder, dropout=0.0)
    return PairTask(trainable, pairs, texts, versions, hard=hard, temperature=0.1, learning_rate=learning_rate, seed=0)


def test_pairs_learn_on_both_sides_against_each_other_and_a_hard_negative_each(encoder, memory):
    passages, keys = memory.keys()
    pairs = [Pair(f"who lives near {n}?", passages[n].text, (n,), (5,) if n == 0 else ()) for n in range(6)]
    task = pair_task(encoder, memory, pairs)
    rows = [0, 2, 5]
    with torch.no_grad():
        queries = task.trainable([task._queries[row] for row in rows])
        hard = task.hard(rows, queries @ torch.from_numpy(keys).t(), 1)
        columns = [*rows, *hard]
        fresh = task.trainable([task._passages[one] for one in columns])
        total = 0.0
        for n, row in enumerate(rows):
            wrong = [m for m, one in enumerate(columns) if one != row and not (row == 0 and one == 5)]
            right = [m for m, one in enumerate(columns) if one == row]
            scores = fresh @ queries[n] / 0.1
            total += float(scores[wrong + right].logsumexp(0) - scores[right].logsumexp(0))
    numbers = task.training_step(1, rows)
    assert numbers["loss"] == pytest.approx(total / 3, abs=1e-4)
    assert 3 < numbers["negatives"] <= 5  # F94: said of every step
    gradient = dict(task.trainable.bert.named_parameters())["layers.0.qkv.weight"].grad
    assert float(gradient.abs().sum()) > 0


def test_a_hard_negative_is_near_and_never_one_that_may_be_right(encoder, memory):
    passages, _ = memory.keys()
    task = pair_task(encoder, memory, [Pair("who?", passages[0].text, (0, 3), (7, 8))])
    scores = torch.arange(len(passages), 0, -1.0).unsqueeze(0)
    drawn = {task.hard([0], scores, step)[0] for step in range(60)}
    assert drawn == {1, 2, 4, 5, 6, 9, 10}
    assert task.hard([0], scores, 9) == task.hard([0], scores, 9)
    assert len(set(pair_task(encoder, memory, task.pairs, hard=4).hard([0], scores, 1))) == 4
    everything = pair_task(encoder, memory, [Pair("who?", passages[0].text, tuple(range(11)))])
    assert everything.hard([0], scores, 1) == []


@pytest.fixture
def joint(encoder, memory):
    passages, keys = memory.keys()
    reader = Reader.load()
    scorer = SpanScorer.load(SHIPPED)
    versions = Versions(torch.from_numpy(keys))
    examples = [Example(row["question"], "", tuple(row["answers"])) for row in rows()]
    examples.append(Example("Who painted the ceiling?", "", ("Nobody here",)))
    trainable = TrainableEncoder(encoder, dropout=0.0)
    task = JointTask(trainable, scorer, reader.windower, examples, passages, versions, k=4, learning_rates=(1e-3, 1e-3))
    return task, reader


def test_the_joint_loss_is_the_probability_that_the_reader_gives_the_answer(joint):
    task, reader = joint
    passages = [task.passages[n] for n in (1, 0, 7)]
    prior = torch.tensor([0.5, 0.3, 0.2]).log()
    loss, known = task.loss(task.examples[0], passages, prior)
    question = task.examples[0].question
    reading = reader.read([question], [passages])[0]
    answer = marginalise(
        question, scored(passages, prior.tolist()), reading, bias=reader.config.open_bias, method="reader"
    )
    (right,) = [one.probability for one in answer.answers if one.text == "1700"]
    assert known
    assert float(loss.detach().exp() ** -1) == pytest.approx(right, rel=1e-3)


def test_where_no_passage_holds_the_answer_null_is_right_and_the_retriever_learns_nothing(joint):
    task, _ = joint
    prior = torch.tensor([0.7, 0.3]).log().requires_grad_()
    loss, known = task.loss(task.examples[-1], task.passages[:2], prior)
    assert not known
    assert float(loss.detach()) > 0
    loss.backward()
    assert prior.grad is None
    task.training_step(1, [0, len(task.examples) - 1])


def logs(folder, phase):
    return [json.loads(line) for line in (folder / phase / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def finished(result):
    """The phases of a run that has nothing left to do."""
    return {phase: {**one, "new_steps": 0} for phase, one in result["phases"].items()}


def test_all_phases_make_an_encoder_an_index_and_a_reader_that_query_uses(memory, data, tmp_path):
    told = train_realm([data], memory, tmp_path, recipe=RECIPE, held_out=[data])
    assert list(told["phases"]) == ["ict", "masked", "questions", "joint"]
    assert told["n"] == len(PLACES)
    assert [one["steps"] for one in told["phases"].values()] == [2, 5, 2, 5]
    assert {"loss", "utility", "entropy", "distinct", "drift", "null", "stale"} <= logs(tmp_path, "masked")[0].keys()
    assert [one["stale"] for one in logs(tmp_path, "masked")] == [0, 1, 2, 3, 2]
    assert (tmp_path / "joint" / "telemetry.png").is_file()
    made = Memory.open(tmp_path / "index")
    assert made.manifest.encoder == told["encoder"]
    assert made.manifest.fingerprint == load_encoder(told["encoder"]).fingerprint != memory.manifest.fingerprint
    assert QA(made, reader=told["reader"])("In what year was the mill of Deal built?").question
    assert len(memory) == len(made)
    assert memory.manifest.fingerprint == Memory.open(memory.path).manifest.fingerprint
    again = train_realm([data], memory, tmp_path, recipe=RECIPE, held_out=[data])  # nothing is left to do
    assert again["phases"] == finished(told)
    assert again["note"] == f"The run in {tmp_path} was finished. More --steps or --epochs go on from it."
    assert again["recall"] == told["recall"]


@pytest.mark.parametrize("phase", ["masked", "joint"])
def test_a_run_cut_in_two_equals_one_in_one_piece(memory, data, tmp_path, phase):
    recipe = RealmRecipe(**{**vars(RECIPE), "phases": (phase,)})
    train_realm([data], memory, tmp_path / "whole", recipe=recipe)

    def stop(event):
        if event.stage == phase and event.done == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_realm([data], memory, tmp_path / "cut", recipe=recipe, progress=stop)
    assert len(logs(tmp_path / "cut", phase)) == 4
    train_realm([data], memory, tmp_path / "cut", recipe=recipe)
    assert_near(logs(tmp_path / "cut", phase), logs(tmp_path / "whole", phase))
    one, other = (load_file(tmp_path / name / phase / "checkpoint.safetensors") for name in ("whole", "cut"))
    assert_near(one, other)
    keys = [Memory.open(tmp_path / name / "index").keys()[1] for name in ("whole", "cut")]
    assert_near(*keys)


def test_keys_of_a_run_that_was_given_up_before_it_saved_anything_are_not_used(memory, data, tmp_path):
    recipe = RealmRecipe(**{**vars(RECIPE), "phases": ("masked",)})
    train_realm([], memory, tmp_path / "clean", recipe=recipe)

    def stop(event):
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):  # before its first checkpoint
        train_realm([], memory, tmp_path / "out", recipe=recipe, progress=stop)
    stale = tmp_path / "out" / "masked" / "refresh"
    stale.mkdir(parents=True, exist_ok=True)
    np.save(stale / "keys-2.npy", np.zeros_like(memory.keys()[1]))
    train_realm([], memory, tmp_path / "out", recipe=recipe)
    assert_near(logs(tmp_path / "out", "masked"), logs(tmp_path / "clean", "masked"))


def test_a_phase_that_is_done_stays_done_where_another_ones_setting_changes(memory, tmp_path):
    recipe = RealmRecipe(**{**vars(RECIPE), "phases": ("ict",), "steps": 1})
    done = train_realm([], memory, tmp_path / "out", recipe=recipe)
    again = train_realm([], memory, tmp_path / "out", recipe=replace(recipe, same_document=True, k=2))
    assert again["phases"] == finished(done)


def test_what_a_later_phase_lacks_is_said_before_the_first_is_trained(encoder, tmp_path):
    memory = Memory.open(tmp_path / "index", create=True, encoder=str(encoder.folder))
    memory.add([Document(text=" ".join(one.text for one in documents()) * 8)])
    with pytest.raises(InputError, match="--same-document"):
        train_realm([], memory, tmp_path / "out", recipe=replace(RECIPE, phases=("ict", "masked"), k=2))
    assert not (tmp_path / "out" / "ict" / "log.jsonl").exists()


def test_without_questions_it_learns_from_the_index_alone(memory, tmp_path):
    recipe = RealmRecipe(**{**vars(RECIPE), "masks": "random", "null": False, "refresh_every": 0, "steps": 2})
    told = train_realm([], memory, tmp_path, recipe=recipe)
    assert list(told["phases"]) == ["ict", "masked"]
    assert "reader" not in told
    assert "null" not in logs(tmp_path, "masked")[0]
    assert train_realm([], memory, tmp_path, recipe=recipe)["phases"] == finished(told)  # nothing is left to do


def test_the_inverse_cloze_task_teaches_a_random_encoder_to_find_passages(encoder, memory, tmp_path):
    torch.manual_seed(0)
    pairs = inverse_cloze(memory.keys()[0], epochs=40, seed=0)
    task = pair_task(encoder, memory, pairs, learning_rate=3e-3)
    plan = shuffled(len(pairs), batch=11, epochs=1, steps=None, seed=0)
    fit(task, plan, Run("realm", tmp_path), warm_up=0.1, save_every=99, documents=10, remedy="")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


@pytest.mark.parametrize(
    ("settings", "documents_of", "said"),
    [
        ({"phases": ("joint",)}, documents(), "needs? some. Give DATA"),
        ({"k": 20}, documents(), "needs more"),
        ({"phases": ("masked",), "k": 2}, [Document(text=" ".join(one.text for one in documents()) * 8)], "--same-doc"),
        (
            {"phases": ("masked",), "k": 2},
            [Document(text=f"no names here at all, none {w}") for w in "abcd"],
            "--masks",
        ),
        ({"phases": ("ict",), "k": 2}, [Document(text=f"one sentence {w}") for w in "abcd"], "two sentences"),
    ],
)
def test_what_cannot_be_trained_is_said_with_what_to_do(encoder, tmp_path, settings, documents_of, said):
    memory = Memory.open(tmp_path / "index", create=True, encoder=str(encoder.folder))
    memory.add(list(documents_of))
    with pytest.raises(InputError, match=said):
        train_realm([], memory, tmp_path / "out", recipe=RealmRecipe(**{**vars(RECIPE), **settings}))


def test_rows_without_answers_and_other_settings_are_refused(memory, data, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"question": "Who?", "answers": []}\n', encoding="utf-8")
    with pytest.raises(InputError, match="No row has an answer"):
        train_realm([empty], memory, tmp_path / "out", recipe=RECIPE)
    recipe = RealmRecipe(**{**vars(RECIPE), "phases": ("ict",), "steps": 1})
    train_realm([], memory, tmp_path / "out", recipe=recipe)
    with pytest.raises(InputError, match="another pairs"):
        train_realm([], memory, tmp_path / "out", recipe=RealmRecipe(**{**vars(recipe), "pairs": 4}))
    with pytest.raises(InputError, match="another run"):
        train_realm([], memory, tmp_path / "out", recipe=RealmRecipe(**{**vars(recipe), "phases": ("masked",)}))


def test_a_memory_that_is_lost_is_told_of(memory, tmp_path):
    recipe = replace(RECIPE, phases=("ict",))
    assert "note" not in train_realm([], memory, tmp_path / "one", recipe=recipe)
    encoder = recurrent(tmp_path / "tiny")
    remembering = Memory.open(tmp_path / "index", create=True, encoder=encoder)
    remembering.add(list(documents()))
    told = train_realm([], remembering, tmp_path / "other", recipe=recipe)
    assert told["note"].startswith(f"The memory of {encoder.name} is not carried over")

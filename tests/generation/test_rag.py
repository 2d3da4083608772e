"""RAG on tiny random models: its numbers are the marginals of the generator's own likelihoods."""

from __future__ import annotations

import math

import pytest
import torch

from memptm.answering.citations import from_marginal
from memptm.generation.not_there import says_nothing
from memptm.generation.rag import NULL_PRIOR, PROMPTS, Rag, null_probability
from memptm.generation.reader import scored
from tests.generation.tiny import TEMPLATE, causal, encoder_decoder, loaded, passage

QUESTION = "When does the ferry leave?"
PASSAGES = [
    passage("The ferry leaves at nine.", 0),
    passage("Kelp forests shelter otters, and the harbour master keeps the key of the tower.", 1),
    passage("The old mill.", 2),
]
LOG_PRIOR = [math.log(p) for p in (0.5, 0.3, 0.2)]
WITH_NULL = [*(log_p + math.log1p(-NULL_PRIOR) for log_p in LOG_PRIOR), math.log(NULL_PRIOR)]


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return loaded(causal(tmp_path_factory.mktemp("chat"), template=TEMPLATE))


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return loaded(encoder_decoder(tmp_path_factory.mktemp("t5")))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """No template: a line's end ends an answer, and this one writes it as its third token."""
    made = loaded(causal(tmp_path_factory.mktemp("plain")))
    model, newline = made.language_model, made.writer.end[0]
    state = model.start([made.writer.write(QUESTION, PASSAGES[:1]).ids])
    for _ in range(2):
        state, _ = model.extend(state, state.log_p.argmax(dim=-1, keepdim=True))
    third, rows = int(state.log_p.argmax()), model.model.lm_head.weight.data
    rows[[third, newline]] = rows[[newline, third]]
    return made


@pytest.fixture(params=["chat", "t5"])
def generator(request):
    return request.getfixturevalue(request.param)


def under_each(generator, answer):
    """log p(y | x, z) by the generator, document by document, the null document last."""
    return generator.log_likelihoods([QUESTION] * 4, [[one] for one in PASSAGES] + [[]], [answer] * 4)


def test_sequence_likelihood_is_the_sum_over_documents(generator):
    found = Rag(generator, "rag-sequence").log_likelihoods(
        [QUESTION], [PASSAGES], torch.tensor([WITH_NULL]), ["at nine"]
    )
    expected = math.log(sum(math.exp(p + q) for p, q in zip(WITH_NULL, under_each(generator, "at nine"), strict=True)))
    assert float(found) == pytest.approx(expected, abs=1e-4)


def test_token_likelihood_sums_over_documents_at_every_token(generator):
    answer = generator.writer.answer_ids("at nine")
    prompts = [generator.writer.write(QUESTION, group).ids for group in ([PASSAGES[0]], [PASSAGES[1]])]
    scores = generator.language_model.token_scores(prompts, [answer] * 2)
    prior = torch.tensor([[0.6, 0.4]])
    expected = float((prior.T * scores.exp()).sum(0).log().sum())
    found = Rag(generator, "rag-token").log_likelihoods([QUESTION], [PASSAGES[:2]], prior.log(), ["at nine"])
    assert float(found) == pytest.approx(expected, abs=1e-4)


def test_the_prior_and_the_generator_get_gradients(chat):
    score = torch.zeros(2, 3, requires_grad=True)
    model = chat.language_model.model.requires_grad_(True)
    loss = -Rag(chat, "rag-token").log_likelihoods(
        [QUESTION] * 2, [PASSAGES] * 2, score.log_softmax(1), ["at", "at nine"]
    )
    loss.sum().backward()
    assert score.grad.abs().sum() > 0
    assert model.lm_head.weight.grad.abs().sum() > 0
    model.zero_grad()
    model.requires_grad_(False)


def test_thorough_decoding_scores_each_hypothesis_under_each_document(generator):
    said = Rag(generator, "rag-sequence", beams=3).answer(QUESTION, scored(PASSAGES, LOG_PRIOR))
    under = under_each(generator, said.text)
    if len(generator.writer.answer_ids(said.text)) < 32:  # one that was cut at the longest has no end to score
        mass = [math.exp(p + q) for p, q in zip(WITH_NULL, under, strict=True)]
        assert said.probability == pytest.approx(sum(mass), rel=1e-3)
        assert [*said.posterior, said.null_posterior] == pytest.approx([m / sum(mass) for m in mass], abs=1e-3)
        assert said.utility == pytest.approx(math.log(sum(mass)) - under[-1], abs=1e-3)
    assert sum(said.posterior) + said.null_posterior == pytest.approx(1, abs=1e-5)
    assert [one.probability for one in said.candidates] == sorted(
        (one.probability for one in said.candidates), reverse=True
    )


@torch.inference_mode()
def test_thorough_decoding_finds_what_brute_force_finds(chat, monkeypatch):  # F77
    monkeypatch.setattr("memptm.generation.rag.ANSWER_TOKENS", 2)
    said = Rag(chat, "rag-sequence", beams=64).answer(QUESTION, scored(PASSAGES, LOG_PRIOR))
    model, stops, joint = chat.language_model, set(chat.stops.tolist()), []
    for group, log_prior in zip([[one] for one in PASSAGES] + [[]], WITH_NULL, strict=True):
        state = model.start([chat.writer.write(QUESTION, group).ids])
        words = len(state.log_p[0])
        after, _ = model.extend(state.select(torch.zeros(words, dtype=torch.long)), torch.arange(words)[:, None])
        joint.append(log_prior + state.log_p[0][:, None] + after.log_p)
    total, best = torch.stack(joint).logsumexp(0), -math.inf
    for place in total.flatten().argsort(descending=True).tolist():
        first, second = divmod(place, len(total))
        line, _ = chat.line_of([first] if second in stops else [first, second], complete=False)
        if first not in stops and not chat.ends_line([first]) and not says_nothing(line):
            best = float(total[first, second])
            break
    assert math.log(said.probability) == pytest.approx(best, abs=1e-3)


def test_fast_decoding_never_says_more_than_thorough(generator):
    thorough, fast = (
        Rag(generator, "rag-sequence", beams=2, thorough=mode).answer(QUESTION, scored(PASSAGES, LOG_PRIOR))
        for mode in (True, False)
    )
    assert fast.probability <= thorough.probability * (1 + 1e-4)


@pytest.mark.parametrize("kind", ["rag-sequence", "rag-token"])
def test_an_answer_does_not_depend_on_its_batch(generator, kind):  # F70
    rag = Rag(generator, kind, beams=2)
    alone = rag.answer(QUESTION, scored(PASSAGES, LOG_PRIOR))
    other = rag.answer("Who built the old mill?", scored(PASSAGES[:2], [math.log(0.5)] * 2))
    batch = rag.answer_batch(
        [QUESTION, "Who built the old mill?", QUESTION],
        [
            scored(PASSAGES, LOG_PRIOR),
            scored(PASSAGES[:2], [math.log(0.5)] * 2),
            scored(PASSAGES[::-1], LOG_PRIOR[::-1]),
        ],
    )
    assert [one.text for one in batch] == [alone.text, other.text, alone.text]
    assert batch[0].probability == pytest.approx(alone.probability, rel=1e-3)
    assert batch[2].posterior == pytest.approx(alone.posterior[::-1], abs=1e-4)


@pytest.mark.parametrize("kind", ["rag-sequence", "rag-token"])
@pytest.mark.parametrize("beams", [1, 3])
def test_what_would_follow_the_answers_line_does_not_count(plain, kind, beams, monkeypatch):
    judged = []
    score = plain.language_model.scores_after
    monkeypatch.setattr(plain.language_model, "scores_after", lambda *given: judged.extend(given[2]) or score(*given))
    rag = Rag(plain, kind, beams=beams)
    alone = rag.answer(QUESTION, scored(PASSAGES[:1], [0.0]))
    assert beams > 1 or min(map(len, judged)) == 3
    assert all("\n" not in plain.tokenizer.decode(ids[:-1]).lstrip() for ids in judged)
    batch = rag.answer_batch([QUESTION] * 2, [scored(PASSAGES[:1], [0.0])] * 2)
    assert [one.text for one in batch] == [alone.text] * 2
    assert [one.probability for one in batch] == pytest.approx([alone.probability] * 2, rel=1e-3)


def test_a_document_of_which_nothing_was_read_has_no_share(chat):
    write, (long, short) = chat.writer.write, PASSAGES[1:]
    asked = next(
        question
        for words in range(1000)
        if not write(question := QUESTION + " ferry" * words, [long]).read and write(question, [short]).read
    )
    marginal = Rag(chat, "rag-token").answer(asked, scored([long, short], [math.log(0.5)] * 2))
    assert [bool(one.text) for one in marginal.read] == [False, True]
    assert (marginal.posterior[0], marginal.posterior[1] > 0) == (0, True)
    cited = from_marginal(asked, scored([long, short], [math.log(0.5)] * 2), marginal, method="rag-token")
    assert [one.passage.text for one in cited.evidence] == [short.text]


def test_what_is_streamed_is_the_answer(chat):
    pieces = []
    said = Rag(chat, "rag-token", beams=1).answer(QUESTION, scored(PASSAGES, LOG_PRIOR), stream=pieces.append)
    assert "".join(pieces).strip() == said.text


def test_from_the_threshold_on_nothing_is_said(chat):
    rag, before = Rag(chat, "rag-token", beams=1), chat.null_threshold
    chat.null_threshold = 0.0
    pieces = []
    said = rag.answer(QUESTION, scored(PASSAGES, LOG_PRIOR), stream=pieces.append)
    chat.null_threshold = before
    assert (said.text, pieces, said.posterior) == (None, [], (0.0, 0.0, 0.0))
    assert said.probability == said.null_probability


def test_one_document_that_answers_is_enough_and_alone_it_decides():
    sure, unsure = math.log(0.99), math.log(0.01)
    even = [-math.log(4)] * 4
    not_there = torch.tensor([[sure, sure, sure, unsure], [sure] * 4])
    one_answers, none_answers = null_probability(not_there, torch.tensor([even, even])).tolist()
    assert one_answers < 0.02
    assert none_answers > 0.9
    alone = null_probability(torch.tensor([[math.log(0.3)]]), torch.tensor([[0.0]]))
    assert float(alone) == pytest.approx(0.3, abs=1e-5)
    certain = null_probability(torch.tensor([[0.0, -200.0]]), torch.tensor([[-0.7, -0.7]]))
    assert torch.isfinite(certain).all()


def test_however_many_questions_are_asked_only_some_prompts_are_read_at_once(chat, monkeypatch):
    sizes = []
    start = chat.language_model.start
    monkeypatch.setattr(chat.language_model, "start", lambda prompts: sizes.append(len(prompts)) or start(prompts))
    asked, groups = [QUESTION] * 23, [PASSAGES[: 1 + n % 3] for n in range(23)]
    retrieved = [scored(group, [-math.log(len(group))] * len(group)) for group in groups]
    found = Rag(chat, "rag-token", beams=1).answer_batch(asked, retrieved)
    assert len(found) == 23
    assert max(sizes) <= PROMPTS
    assert sum(sizes) == sum(len(group) + 1 for group in groups)
    assert [one.probability for one in found[:3]] == pytest.approx([one.probability for one in found[3:6]], abs=1e-5)

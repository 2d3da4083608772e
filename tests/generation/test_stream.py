"""The generator on streams: long prompts in segments, and talks that go on; while all fits, nothing differs from one pass."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from memptm.errors import InputError
from memptm.generation.decoding import LanguageModel
from memptm.generation.prompt import ANSWER_TOKENS
from memptm.generation.stream import ReadState, Stream
from tests.generation.tiny import TEMPLATE, causal, encoder_decoder, loaded, passage
from tests.naive import assert_near

QUESTION = "When does the ferry leave?"
FERRY = passage("The ferry leaves at nine.")
MANY = [passage(f"Sentence {n} tells about mill {n}. It stands by the river. " * 3, n) for n in range(40)]


@pytest.fixture(scope="module", params=["chat", "plain"])
def generator(request, tmp_path_factory):
    made = loaded(causal(tmp_path_factory.mktemp("stream"), template=TEMPLATE if request.param == "chat" else None))
    made.null_threshold = 2.0
    return made


def ids(count, seed=0):
    return torch.randint(5, 300, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_while_the_window_holds_all_a_stream_is_one_pass(tmp_path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(causal(tmp_path), dtype=torch.float64)
    plain = LanguageModel(model, pad=0)
    stream = Stream(plain, window=512, sinks=10)  # segments of 128
    prompt, more = ids(300), torch.tensor([ids(12, seed=1)])
    place, state = stream.start(prompt), plain.start([prompt])
    assert torch.allclose(place.log_p, state.log_p, atol=1e-6)
    _, ours = stream.extend(place.copy(), more)
    _, theirs = plain.extend(state.copy(), more)
    assert torch.allclose(ours, theirs, atol=1e-6)
    for n in range(12):
        place, one = stream.extend(place, more[:, n : n + 1])
        assert torch.allclose(one, ours[:, n : n + 1], atol=1e-6)


def test_more_than_a_segment_is_read_in_segments(tmp_path):
    stream = Stream(loaded(causal(tmp_path)).language_model, window=64, sinks=4)  # segments of 16
    prompt, more = ids(50), torch.tensor([ids(40, seed=1)])
    place, log_p = stream.extend(stream.start(prompt), more)
    assert log_p.shape[:2] == (1, 40)
    other, parts = stream.start(prompt), []
    for part in more.split(16, dim=1):
        other, one = stream.extend(other, part)
        parts.append(one)
    assert_near(log_p, torch.cat(parts, dim=1))
    assert_near(place.log_p, other.log_p)


def test_an_answer_kept_for_later_is_the_one_that_is_not(generator):
    alone, kept = generator.generate(QUESTION, [FERRY]), generator.generate(QUESTION, [FERRY], keep=True)
    assert alone.state is None
    assert kept.text == alone.text
    assert math.log(kept.probability) == pytest.approx(math.log(alone.probability), abs=1e-4)
    assert math.log(kept.null_probability) == pytest.approx(math.log(alone.null_probability), abs=1e-4)


def test_a_prompt_longer_than_the_window_is_read_whole(generator):
    said = generator.generate(QUESTION, MANY)
    assert said.read == tuple(MANY)
    prompt = generator.writer.write(QUESTION, MANY, whole=True)
    assert len(prompt.ids) > 2 * generator.writer.window
    text = generator.tokenizer.decode(prompt.ids)
    assert text.index(MANY[0].text) > text.index(MANY[1].text)  # the likeliest was read last
    place = Stream(generator.language_model, window=generator.writer.window, sinks=prompt.front).start(prompt.ids)
    assert place.window.length <= generator.writer.window


def test_what_stays_of_a_long_prompt_is_instruction_and_question_and_its_end(generator):
    prompt = generator.writer.write(QUESTION, MANY, whole=True)
    stream = Stream(generator.language_model, window=generator.writer.window, sinks=prompt.front)
    kept = stream.decoder.memory
    state = stream.read(prompt.ids)
    embedded = generator.language_model.model.model
    layer = embedded.layers[0]
    places = [*range(prompt.front), *range(len(prompt.ids) - (kept - prompt.front), len(prompt.ids))]
    with torch.no_grad():  # the first layer's keys depend on their token alone
        some = embedded.embed_tokens(torch.tensor([[prompt.ids[n] for n in places]]))
        expected = layer.self_attn.k_proj(layer.input_layernorm(some))
    ours = state.keys[0].transpose(1, 2).flatten(2)
    assert torch.allclose(ours, expected, atol=1e-5)


def test_a_long_text_costs_no_more_memory_than_a_short_one(generator):
    sizes = set()
    state = None
    for _ in range(4):
        state = generator.read("The old mill stands by the river. " * 150, state)
        sizes.add(state.decoder.keys.numel())
    assert state.decoder.read > 4 * generator.writer.window
    assert len(sizes) == 1


def test_a_question_too_long_for_the_window_is_read_by_those_that_can(generator):
    question = "why " * 2000
    assert generator.generate(question, []).tokens <= ANSWER_TOKENS
    generator.streams = False
    try:
        with pytest.raises(InputError, match="shorter question"):
            generator.generate(question, [])
        assert len(generator.generate(QUESTION, MANY).read) < len(MANY)
    finally:
        generator.streams = True


def test_long_and_short_prompts_go_together_in_a_batch(generator):
    questions, passages = [QUESTION, QUESTION, "Who?"], [[FERRY], MANY, []]
    for together, question, read in zip(
        generator.generate_batch(questions, passages), questions, passages, strict=True
    ):
        alone = generator.generate(question, read)
        assert (together.text, together.read) == (alone.text, alone.read)
        assert math.log(together.probability) == pytest.approx(math.log(alone.probability), abs=1e-4)


def test_the_likelihood_of_a_long_prompts_own_answer_is_its_probability(generator):
    said = generator.generate(QUESTION, MANY[:12])
    assert generator.log_likelihood(QUESTION, MANY[:12], None) == pytest.approx(
        math.log(said.null_probability), abs=1e-3
    )


def talk(generator, state=None):
    """A text, a question, another text, and what was said."""
    state = generator.read("The ferry leaves at nine. The harbour master keeps the key.", state)
    first = generator.generate("Who keeps the key?", [], state=state, keep=True)
    state = generator.read("The old mill stands by the river.", first.state)
    return state, first.text


def test_a_talk_that_goes_on_is_one_pass_over_all_of_it(generator):
    """Against the same ids, written out."""
    state, text = talk(generator)
    said = generator.generate(QUESTION, [FERRY], state=state)
    writer = generator.writer
    answer = "not in memory" if text is None else text
    whole = [
        *writer.head,
        *writer.text_ids("The ferry leaves at nine. The harbour master keeps the key."),
        *writer.write("Who keeps the key?", [], opening=writer.gap).ids,
        *writer.answer_ids(answer),
        *writer.between,
        *writer.text_ids("The old mill stands by the river."),
        *writer.write(QUESTION, [FERRY], opening=writer.gap).ids,
    ]
    after = generator.language_model.start([whole])
    assert math.log(said.null_probability) == pytest.approx(float(generator.null_log_p(after)), abs=1e-4)


def test_a_chat_goes_on_with_the_templates_own_marks(tmp_path):
    generator = loaded(causal(tmp_path, template=TEMPLATE))
    writer = generator.writer
    said = [*writer.head, *writer.text_ids("A"), *writer._tail, *writer.answer_ids("B"), *writer.between]
    from memptm.generation.prompt import INSTRUCTION

    turns = [("system", INSTRUCTION), ("user", "A"), ("assistant", "B"), ("user", "C")]
    messages = [{"role": role, "content": text} for role, text in turns]
    rendered = generator.tokenizer.apply_chat_template(messages, tokenize=False)
    assert rendered.startswith(generator.tokenizer.decode(said))
    assert rendered[len(generator.tokenizer.decode(said)) :].startswith("C")


def test_a_state_is_kept_in_a_file(generator, tmp_path):
    state, _ = talk(generator)
    state.save(tmp_path / "talk.safetensors")
    again = ReadState.load(tmp_path / "talk.safetensors")
    assert again.open
    one, other = (generator.generate(QUESTION, [FERRY], state=this) for this in (state, again))
    assert_near(replace(one, state=None), replace(other, state=None))
    (tmp_path / "talk.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="Begin the stream anew"):
        ReadState.load(tmp_path / "talk.safetensors")


def test_going_on_leaves_the_state_as_it_was(generator):
    state = generator.read("The ferry leaves at nine.")
    first, again = (generator.generate(QUESTION, [], state=state, keep=True) for _ in range(2))
    assert_near(replace(first, state=None), replace(again, state=None))
    assert_near(first.state.decoder.keys, again.state.decoder.keys)
    assert state.decoder.read < first.state.decoder.read


def test_what_cannot_be_gone_on_from_is_said(generator, tmp_path):
    other = loaded(causal(tmp_path / "other", seed=5))
    with pytest.raises(InputError, match="another model"):
        generator.generate(QUESTION, [], state=other.read("The ferry."))
    with pytest.raises(InputError, match="nothing to read"):
        generator.read("")
    t5 = loaded(encoder_decoder(tmp_path / "t5"))
    with pytest.raises(InputError, match="Llama family"):
        t5.read("The ferry.")
    with pytest.raises(InputError, match="Llama family"):
        t5.generate(QUESTION, [FERRY], keep=True)

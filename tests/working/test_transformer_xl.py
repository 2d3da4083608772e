"""Transformer-XL: what one pass says, any way of cutting it into segments says; the memory is exactly what was read."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from memptm.errors import InputError, ModelMissing
from memptm.working.adaptive import IGNORED, AdaptiveEmbedding, AdaptiveSoftmax
from memptm.working.attend import shifted
from memptm.working.convert import from_original, load_original, original_config
from memptm.working.relative import RelativeAttention, distances, hidden_keys
from memptm.working.transformer_xl import TransformerXL, TransformerXLConfig, mean_loss
from memptm.working.transformer_xl_state import TransformerXLState
from tests.naive import assert_near
from tests.working import naive_xl

CONFIG = {
    "vocab_size": 50,
    "d_model": 12,
    "d_embed": 8,
    "n_layer": 3,
    "n_head": 2,
    "d_head": 4,
    "d_inner": 16,
    "mem_len": 20,
    "clamp_len": 6,
    "div_val": 2,
    "cutoffs": [20, 35],
    "tie_projs": [False, True, True],
    "untie_r": True,
    "dropout": 0.0,
}


def model(seed=0, **choices):
    torch.manual_seed(seed)
    config = {"vocabulary": 30, "width": 12, "layers": 2, "heads": 2, "head_width": 4, "inner": 16, "mem_len": 40}
    made = TransformerXL(TransformerXLConfig(**{**config, "dropout": 0.0, **choices})).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return made


def words(batch=2, length=20, seed=1):
    return torch.randint(0, 30, (batch, length), generator=torch.Generator().manual_seed(seed))


def read(made, ids, sizes, documents=None):
    """Hidden states of ids read in segments of these sizes, and the last state."""
    state, found, at = None, [], 0
    with torch.no_grad():
        for size in sizes:
            own = None if documents is None else documents[:, at : at + size]
            hidden, state = made(ids[:, at : at + size], state, own)
            found.append(hidden)
            at += size
    assert at == ids.shape[1]
    return torch.cat(found, dim=1), state


@given(st.integers(1, 5), st.integers(0, 6), st.integers(0, 3), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_attention_equals_the_loop_over_every_query_and_key(queries, memory, clamp, seed):
    torch.manual_seed(seed)
    part = RelativeAttention(8, 2, 4).double()
    u, v = torch.randn(2, 2, 4, dtype=torch.float64)
    hidden, past = torch.randn(2, queries, 8).double(), torch.randn(2, memory, 8).double()
    context = torch.cat([past, hidden], dim=1)
    keys = queries + memory
    r = distances(keys, 8, clamp=clamp)
    ours, _ = part(hidden, part.project(past), part.by_distance(r), u, v, hidden_keys(queries, keys))
    for b in range(2):
        q = part.query(hidden[b]).view(queries, 2, 4)
        k, value = (one.view(keys, 2, 4) for one in part.key_value(context[b]).chunk(2, dim=-1))

        def relative(distance):
            seen = min(distance, clamp) if clamp else distance
            return part.relative(naive_xl.sinusoid(seen, 8, torch.float64)).view(2, 4)

        weight = naive_xl.scores(q, k, relative, u, v).softmax(dim=1)
        theirs = part.out(torch.einsum("ijh,jhd->ihd", weight, value).flatten(1))
        assert torch.allclose(ours[b], theirs, atol=1e-6)  # sinusoids are float32


def test_the_shift_is_a_view_and_equals_the_originals_below_the_diagonal():
    scores = torch.randn(1, 2, 3, 6)  # 3 queries, 5 keys, and a column that is never looked at
    view = shifted(scores)
    assert view.data_ptr() == scores.data_ptr() + 2 * scores.element_size()
    theirs = naive_xl.rel_shift(scores[..., :5].permute(2, 3, 0, 1)).permute(2, 3, 0, 1)
    seen = ~hidden_keys(3, 5)
    assert torch.equal(view[..., seen], theirs[..., seen])


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("sizes", [[1] * 20, [3] * 6 + [2], [7, 7, 6], [19, 1]])  # F80
def test_segments_with_memory_for_all_give_the_states_of_one_full_pass(sizes, pre_norm):
    made = model(pre_norm=pre_norm, share_biases=not pre_norm)
    whole, _ = read(made, words(), [20])
    cut, _ = read(made, words(), sizes)
    assert torch.allclose(cut, whole, atol=1e-9)


def test_same_length_lets_every_query_see_the_newest_keys_itself_included():
    made = model(same_length=True, mem_len=4, layers=1)
    whole, _ = read(made, words(), [20])
    for i in (3, 9, 19):
        alone, _ = read(made, words()[:, i - 3 : i + 1], [4])
        assert torch.allclose(whole[:, i], alone[:, -1], atol=1e-9)
    cut, _ = read(made, words(), [5] * 4)
    assert torch.allclose(cut, whole, atol=1e-9)


@pytest.mark.parametrize("length", [7, 0])
@pytest.mark.parametrize("size", [1, 3, 7, 10])  # F81
def test_the_memory_is_exactly_the_newest_states_detached(size, length):
    made = model(mem_len=length)
    state, inputs = made.start(2), torch.empty(2, 0, 12).double()
    for n in range(3):
        ids = words(length=size, seed=n)
        _, state = made(ids, state)
        inputs = torch.cat([inputs, made.words(ids)], dim=1)
        expected = inputs[:, inputs.shape[1] - min(length, inputs.shape[1]) :]
        assert_near(state.layers[0], expected)  # the first layer's is the embeddings
        assert not state.layers.requires_grad
        assert len(state) == min(length, size * (n + 1))


def test_a_gradient_ends_at_the_memory():
    made = model()
    first, second = words(length=4), words(length=4, seed=9)
    _, state = made(first)
    losses, _ = made.losses(second, second, state)
    losses.sum().backward()
    only = set(second.flatten().tolist())
    unread = sorted(set(first.flatten().tolist()) - only)
    rows = made.words.tables[0].grad[unread]
    tied = model()
    hidden, _ = tied(second, state)  # tied weights: the softmax alone reaches these rows
    tied.softmax.losses(hidden.detach(), second, tied.words).sum().backward()
    assert unread
    assert torch.allclose(rows, tied.words.tables[0].grad[unread], atol=1e-12)


def test_states_do_not_change_when_all_positions_shift():
    made = model()
    ids = words()
    alone, _ = read(made, ids, [20])
    other = torch.cat([words(length=13, seed=5), ids], dim=1)  # another document before it
    documents = torch.tensor([[0] * 13 + [1] * 20] * 2)
    later, _ = read(made, other, [9, 4, 11, 9], documents)
    assert torch.allclose(later[:, 13:], alone, atol=1e-9)


def test_a_document_begins_in_the_middle_of_a_segment_and_rows_apart():
    made = model()
    ids = words()
    documents = torch.tensor([[3] * 20, [0] * 6 + [1] * 14])
    mixed, _ = read(made, ids, [8, 8, 4], documents)
    first, _ = read(made, ids[:1], [20])
    second, _ = read(made, ids[1:, 6:], [14])
    assert torch.allclose(mixed[:1], first, atol=1e-9)
    assert torch.allclose(mixed[1:, 6:], second, atol=1e-9)


def test_a_row_is_reset_on_its_own():
    made = model()
    before, after = words(length=10), words(length=10, seed=3)
    _, state = made(before)
    with torch.no_grad():
        mixed, _ = made(after, state.reset([1]))
        kept, _ = made(after[:1], TransformerXLState(state.layers[:, :1], state.documents[:1]))
        fresh, _ = made(after[1:])
    assert torch.allclose(mixed[:1], kept, atol=1e-9)
    assert torch.allclose(mixed[1:], fresh, atol=1e-9)


def test_a_stream_goes_on_from_a_saved_state(tmp_path):
    made = model()
    whole, _ = read(made, words(), [12, 8])
    _, state = read(made, words()[:, :12], [12])
    state.save(tmp_path / "state.safetensors")
    with torch.no_grad():
        rest, _ = made(words()[:, 12:], TransformerXLState.load(tmp_path / "state.safetensors"))
    assert_near(rest, whole[:, 12:])
    (tmp_path / "state.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="Begin the stream anew"):
        TransformerXLState.load(tmp_path / "state.safetensors")
    with pytest.raises(InputError, match="2 streams"):
        made(words(batch=1), state)


def test_a_state_of_another_model_is_refused_at_its_first_use(tmp_path):
    made, file = model(), tmp_path / "state.safetensors"
    _, state = made(words())
    for choices in ({"layers": 3}, {"width": 14}):
        with pytest.raises(InputError, match="layers of width"):
            model(**choices)(words(), state)
    state.save(file)
    with pytest.raises(InputError, match="another model's weights"):
        model(seed=5)(words(), TransformerXLState.load(file))
    TransformerXLState.load(file).save(file)  # unread, it is still that model's
    with pytest.raises(InputError, match="another model's weights"):
        model(seed=5)(words(), TransformerXLState.load(file))
    assert made(words(), TransformerXLState.load(file))[1].model == ""
    save_file({"layers": state.layers.detach(), "documents": state.documents}, file)  # as it was written before
    assert_near(made(words(), TransformerXLState.load(file))[0], made(words(), state)[0])


def test_a_state_comes_to_the_models_precision():
    made = model()
    _, state = made(words())
    other = TransformerXLState(state.layers.float(), state.documents)
    assert made(words(), other)[0].dtype == torch.float64


def test_a_copy_with_external_memory_is_where_the_model_is():
    assert model().to("meta").with_external([1]).memorizing["1"].gate.device.type == "meta"


@pytest.mark.parametrize("length", [0, 40])
def test_every_reset_begins_another_document(length, tmp_path):
    made, state, numbers = model(mem_len=length), None, []
    for _ in range(3):
        _, state = made(words(), state)
        state.reset([1]).reset([1]).save(tmp_path / "state.safetensors")
        state = TransformerXLState.load(tmp_path / "state.safetensors")
        numbers.append(state.document().flatten().tolist())
    assert numbers == [[0, 2], [0, 4], [0, 6]]


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("length", [6, 40])
def test_what_is_kept_of_the_memory_says_what_the_memory_says(length, pre_norm):
    """While nothing learns, keys and values of the memory are not made anew; with gradients they are."""
    made = model(mem_len=length, pre_norm=pre_norm)
    cut, state = read(made, words(), [1, 2, 8, 1, 1, 7])
    again, parts = None, []
    for part in words().split([1, 2, 8, 1, 1, 7], dim=1):
        hidden, again = made(part, again)
        parts.append(hidden)
    assert torch.allclose(cut, torch.cat(parts, dim=1), atol=1e-9)
    assert torch.allclose(state.layers, again.layers, atol=1e-9)
    assert state.cache is not None
    assert again.cache is None
    assert state.cache.layers[0].keys.shape[2] == len(state) == min(length, 20)
    with torch.no_grad():
        bare, _ = made(words(seed=4), TransformerXLState(state.layers, state.documents))
        kept, _ = made(words(seed=4), state)
    assert torch.allclose(bare, kept, atol=1e-9)


def test_more_memory_at_evaluation_than_in_training_is_just_set():
    made = model(mem_len=3)
    made.mem_len = 40
    long, state = read(made, words(), [5] * 4)
    whole, _ = read(model(mem_len=40), words(), [20])
    assert len(state) == 20
    assert torch.allclose(long, whole, atol=1e-9)


def test_generation_reads_each_word_once_and_equals_the_likeliest_of_full_passes():
    made = model()
    ids = words(length=6)
    with torch.no_grad():
        written = torch.stack(list(made.generate(ids, tokens=5, temperature=0)), dim=1)
        again = ids
        for _ in range(5):
            hidden, _ = made(again)
            again = torch.cat([again, made.log_probabilities(hidden[:, -1]).argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(written, again[:, 6:])
    torch.manual_seed(0)
    drawn = list(made.generate(ids, tokens=3, temperature=0.8, top=4))
    assert len(drawn) == 3
    assert drawn[0].shape == (2,)


@pytest.mark.parametrize(
    ("cutoffs", "div_val", "tied"), [((), 1, ()), ((4, 7), 1, ()), ((4, 7), 2, (False, True, True))]
)
@pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16])
def test_probabilities_sum_to_one_and_losses_are_theirs_in_token_order(cutoffs, div_val, tied, precision):  # F83
    torch.manual_seed(0)
    words_of = AdaptiveEmbedding(10, 8, cutoffs=cutoffs, div_val=div_val)
    softmax = AdaptiveSoftmax(words_of, tied=tied)
    for parameter in (*words_of.parameters(), *softmax.parameters()):
        torch.nn.init.normal_(parameter)
    words_of.to(precision), softmax.to(precision)
    hidden, targets = torch.randn(3, 5, 8).to(precision), torch.randint(0, 10, (3, 5))
    log_p = softmax.log_probabilities(hidden, words_of)
    assert log_p.dtype == torch.float32
    assert torch.allclose(log_p.exp().sum(-1), torch.ones(3, 5), atol=1e-5)
    losses = softmax.losses(hidden, targets, words_of)
    assert torch.allclose(losses, -log_p.gather(-1, targets.unsqueeze(-1)).squeeze(-1), atol=1e-5)
    order = torch.randperm(5)
    assert torch.allclose(softmax.losses(hidden[:, order], targets[:, order], words_of), losses[:, order], atol=1e-5)
    assert words_of(targets).shape == (3, 5, 8)


@pytest.mark.parametrize("cutoffs", [(), (4,)])
def test_targets_of_minus_100_count_for_nothing(cutoffs):  # F82
    made = model(cutoffs=cutoffs)
    ids = words(batch=1, length=3)
    targets = torch.tensor([[3, IGNORED, 5]])
    losses, _ = made.losses(ids, targets)
    assert losses[0, 1] == 0
    assert float(mean_loss(losses, targets).detach()) == pytest.approx(float(losses.sum().detach()) / 2)
    none = torch.full((1, 3), IGNORED)
    losses, _ = made.losses(ids, none)
    assert float(mean_loss(losses, none).detach()) == 0


def test_an_odd_width_and_layers_that_there_are_not_are_refused():
    with pytest.raises(InputError, match="even --width"):
        model(width=13)
    for choices in ({"parts": {2: torch.nn.Identity()}}, {"memorizing": (99,)}):
        config = TransformerXLConfig(vocabulary=9, layers=2, memorizing=choices.pop("memorizing", ()))
        with pytest.raises(InputError, match="layers 0 to 1, not"):
            TransformerXL(config, **choices)
    with pytest.raises(InputError, match="layers 0 to 1, not 99"):
        model().with_external([99])


def test_nothing_cannot_be_gone_on_from():
    with pytest.raises(InputError, match="at least one word"):
        next(model().generate(words(length=0)))


def test_cutoffs_that_do_not_rise_are_refused():
    with pytest.raises(ValueError, match="must rise"):
        AdaptiveEmbedding(10, 8, cutoffs=(7, 4))


@pytest.mark.parametrize("format_of", ["safetensors", "bin"])
def test_a_checkpoint_of_the_original_layout_computes_what_the_original_does(tmp_path, format_of):
    state = naive_xl.checkpoint(CONFIG)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    if format_of == "safetensors":
        save_file(state, tmp_path / "model.safetensors")
    else:
        torch.save(state, tmp_path / "pytorch_model.bin")
    made = load_original(tmp_path).double()
    made.load_state_dict(from_original(state, original_config(CONFIG)))  # in float64
    ids = torch.randint(0, 50, (14,), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        hidden, _ = made(ids.unsqueeze(0))
        ours = made.log_probabilities(hidden)[0]
    assert torch.allclose(ours.double(), naive_xl.log_probabilities(state, CONFIG, ids), atol=1e-4)
    assert math.isclose(float(ours[0].double().exp().sum()), 1, abs_tol=1e-5)


def converted(state, config):
    made = TransformerXL(original_config(config)).double().eval()
    made.load_state_dict(from_original(state, original_config(config)))
    ids = torch.randint(0, 50, (14,), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        hidden, _ = made(ids.unsqueeze(0))
        return made.log_probabilities(hidden)[0], ids


def test_what_a_checkpoint_holds_beyond_the_model_is_refused():
    state = naive_xl.checkpoint(CONFIG)
    table = state["transformer.word_emb.emb_layers.1.weight"]
    expected, _ = converted(state, CONFIG)
    copies = {"crit.out_layers.1.weight": table, "crit.out_projs.1": state["transformer.word_emb.emb_projs.1"]}
    assert_near(converted(state | copies, CONFIG)[0], expected)
    with pytest.raises(ValueError, match=r"layers\.2\..* has no place"):
        from_original(state, original_config({**CONFIG, "n_layer": 2}))
    for name, tensor in copies.items():
        with pytest.raises(ValueError, match=f"{name} is not the same"):
            from_original(state | {name: tensor + 1}, original_config(CONFIG))


def test_the_originals_own_code_has_its_clusters_in_reverse():
    state = naive_xl.checkpoint(CONFIG)
    bare = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
    bare |= {name: bare[name].flip(0) for name in ("crit.cluster_weight", "crit.cluster_bias")}
    assert_near(converted(bare, CONFIG)[0], converted(state, CONFIG)[0])


def test_projections_are_tied_as_transformers_ties_them():
    for raw in ({}, {"tie_projs": []}, {"proj_share_all_but_first": True}):
        config = {name: one for name, one in CONFIG.items() if name != "tie_projs"} | raw
        assert original_config(config).tied == (False, True, True)
    assert original_config({**CONFIG, "tie_projs": [], "proj_share_all_but_first": False}).tied == (False,) * 3


@pytest.mark.parametrize("embedding", [8, 12])
def test_with_div_val_1_one_matrix_holds_all_clusters(embedding):
    config = {**CONFIG, "div_val": 1, "d_embed": embedding}
    state = naive_xl.checkpoint(config)
    shared = torch.eye(12).double() if embedding == 12 else state["transformer.word_emb.emb_projs.0"]
    state |= {f"transformer.word_emb.emb_projs.{n}": shared for n in range(3)}
    state["crit.out_projs.0"] = shared if embedding == 12 else state["crit.out_projs.0"]
    one = dict(state)
    for kind in ("transformer.word_emb.emb_layers.{}.weight", "crit.out_layers.{}.bias"):
        one[kind.format(0)] = torch.cat([one.pop(kind.format(n)) for n in range(3)])
    for n in range(1 if embedding != 12 else 0, 3):
        del one[f"transformer.word_emb.emb_projs.{n}"]
    if embedding == 12:
        del one["crit.out_projs.0"]
    ours, ids = converted(one, config)
    assert torch.allclose(ours.double(), naive_xl.log_probabilities(state, config, ids), atol=1e-5)


def test_a_checkpoint_with_something_that_would_run_is_not_read(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    torch.save({"x": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelMissing, match="no Transformer-XL checkpoint"):
        load_original(tmp_path)
    assert "run" not in capsys.readouterr().out
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ModelMissing, match="no Transformer-XL checkpoint"):
        load_original(tmp_path)


def test_a_model_is_saved_and_loaded(tmp_path):
    made = model(cutoffs=(10, 20), div_val=2, tied=(False, True, True)).float()
    made.save(tmp_path)
    again = TransformerXL.load(tmp_path)
    with torch.no_grad():
        assert_near(made(words())[0], again(words())[0])
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"inner": 16', '"inner": 8'))
    with pytest.raises(ModelMissing, match=r"\(size mismatch for layers\.0\.feed_forward"):
        TransformerXL.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelMissing, match="memptm train lm"):
        TransformerXL.load(tmp_path)
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ModelMissing, match="memptm train lm"):
        TransformerXL.load(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_checkpoint_that_is_cut_is_refused(tmp_path, name):
    state = naive_xl.checkpoint(CONFIG)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (save_file if name == "model.safetensors" else torch.save)(state, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in (0, len(whole) // 2):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(ModelMissing, match="no Transformer-XL checkpoint"):
            load_original(tmp_path)

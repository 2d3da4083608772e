"""The BERT trunk is transformers' BERT."""

import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig as TheirConfig
from transformers import BertModel

from memptm.encoders.bert import Bert
from memptm.errors import ModelMissing
from tests.naive import assert_near


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    theirs = BertModel(TheirConfig(vocab_size=50, max_position_embeddings=40, **sizes)).eval()
    theirs.save_pretrained(folder)
    return theirs, Bert.load(folder), folder


@pytest.fixture
def batch():
    torch.manual_seed(1)
    ids = torch.randint(1, 50, (3, 11))
    mask = torch.ones(3, 11, dtype=torch.bool)
    mask[1, 6:] = mask[2, 1:] = False
    segments = torch.zeros(3, 11, dtype=torch.long)
    segments[:, 4:] = 1
    return ids, mask, segments


def test_the_states_are_those_of_transformers(pair, batch):
    theirs, ours, _ = pair
    ids, mask, segments = batch
    with torch.inference_mode():
        expected = theirs(ids, attention_mask=mask.long(), token_type_ids=segments).last_hidden_state
        assert torch.allclose(ours(ids, mask, segments)[mask], expected[mask], atol=2e-6)


def test_padding_and_order_of_the_batch_change_nothing(pair, batch):
    _, ours, _ = pair
    ids, mask, segments = batch
    with torch.inference_mode():
        whole = ours(ids, mask, segments)
        alone = ours(ids[1:2, :6], None, segments[1:2, :6])
        turned = ours(ids.flip(0), mask.flip(0), segments.flip(0))
    assert torch.allclose(whole[1:2, :6], alone, atol=2e-6)
    assert torch.allclose(whole[mask], turned.flip(0)[mask], atol=2e-6)


def test_bfloat16_products_keep_the_stream_in_float32(pair, batch):
    _, ours, folder = pair
    ids, mask, segments = batch
    with torch.inference_mode():
        halved = Bert.load(folder).to_bfloat16()(ids, mask, segments)
        exact = ours(ids, mask, segments)
    assert halved.dtype == torch.float32
    assert torch.cosine_similarity(halved[mask], exact[mask], dim=-1).min() > 0.999


def test_a_row_of_padding_alone_gives_no_nan(pair, batch):
    _, ours, _ = pair
    ids, mask, _ = batch
    mask[2] = False
    with torch.inference_mode():
        assert torch.isfinite(ours(ids, mask)).all()


def test_dropout_is_for_training_alone(pair, batch):
    ids, mask, segments = batch
    model = Bert.load(pair[2], dropout=0.5)
    with torch.inference_mode():
        assert_near(model(ids, mask, segments), model(ids, mask, segments))
        model.train()
        assert not torch.allclose(model(ids, mask, segments), model(ids, mask, segments), atol=1e-4)


@pytest.mark.parametrize(
    "config", ["{}", "not json", '{"model_type": "llama"}', '{"model_type": "bert", "hidden_act": "relu"}']
)
def test_what_is_no_bert_is_refused(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelMissing):
        Bert.load(tmp_path)


def test_pickled_weights_are_not_read(pair, tmp_path):
    (tmp_path / "config.json").write_bytes((pair[2] / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelMissing, match="safetensors"):
        Bert.load(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")


def test_in_integers_states_stay_close_and_nothing_else_changes(pair, batch):
    _, ours, _ = pair
    ids, mask, segments = batch
    with torch.inference_mode():
        exact = ours(ids, mask, segments)
        rounded = ours.quantised(ids, mask)(ids, mask, segments)
        again = ours(ids, mask, segments)
    assert_near(exact, again)
    assert torch.cosine_similarity(rounded[mask], exact[mask], dim=-1).min() > 0.999


def test_weights_stored_by_input_give_the_same_states(pair, batch):
    _, ours, folder = pair
    ids, mask, segments = batch
    with torch.inference_mode():
        torch.testing.assert_close(Bert.load(folder).pack_weights()(ids, mask, segments), ours(ids, mask, segments))

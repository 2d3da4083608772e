"""A datastore of tokens: what is near is found with the token that followed, and only a whole folder opens."""

import json

import numpy as np
import pytest

from memptm.errors import InputError
from memptm.memory.tokens import TokenStore
from tests.naive import assert_near

WIDTH = 24


def pairs(count=60, seed=0):
    chance = np.random.default_rng(seed)
    for start in range(0, count, 20):
        yield chance.standard_normal((20, WIDTH)).astype(np.float32), np.arange(start, start + 20, dtype=np.int32)


@pytest.fixture
def store():
    return TokenStore.build(pairs(), model="toy", fingerprint="f", dimension=16)


def test_a_states_nearest_is_itself_and_distances_are_those_of_unit_vectors(store):
    states = np.concatenate([states for states, _ in pairs()])
    tokens, distances = store.search(states, k=5)
    assert (tokens[:, 0] == np.arange(60)).all()
    assert distances[:, 0] == pytest.approx(0, abs=1e-5)
    assert (np.diff(distances, axis=1) >= -1e-6).all()
    projected = (states - states.mean(0)) @ store.projection
    unit = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    by_hand = np.sort(((unit[0] - unit) ** 2).sum(1))[:5]
    assert distances[0] == pytest.approx(by_hand, abs=1e-4)


def test_the_projection_keeps_the_directions_that_vary(store):
    assert store.projection.shape == (WIDTH, 16)
    assert store.projection.T @ store.projection == pytest.approx(np.eye(16), abs=1e-5)


def test_where_fewer_are_held_than_asked_for_the_rest_is_marked(store):
    tokens, distances = store.search(np.ones((1, WIDTH), np.float32), k=80)
    assert (tokens[0, 60:] == -1).all()
    assert np.isinf(distances[0, 60:]).all()
    assert (tokens[0, :60] >= 0).all()


def test_what_is_saved_is_what_loads(store, tmp_path):
    store.save(tmp_path)
    again = TokenStore.load(tmp_path)
    query = np.ones((2, WIDTH), np.float32)
    assert again.about == store.about
    assert len(again) == 60
    assert_near(again.search(query, k=4), store.search(query, k=4))


def test_nothing_and_a_damaged_folder_are_refused_in_one_line(store, tmp_path):
    with pytest.raises(InputError, match="no text"):
        TokenStore.build([], model="toy", fingerprint="f")
    with pytest.raises(InputError, match=r"memptm tokens --index DIR --out .*nowhere"):
        TokenStore.load(tmp_path / "nowhere")
    store.save(tmp_path)
    for name in ("keys", "tokens.safetensors", "about.json"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match="damaged"):
            TokenStore.load(tmp_path)
        (tmp_path / name).write_bytes(whole)
    about = json.loads((tmp_path / "about.json").read_text())
    (tmp_path / "about.json").write_text(json.dumps(about | {"tokens": 59}))
    with pytest.raises(InputError, match="cut"):
        TokenStore.load(tmp_path)


@pytest.mark.parametrize("name", ["about.json", "keys", "tokens.safetensors"])
def test_nothing_but_a_datastore_is_overwritten(store, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="no datastore of tokens"):
        store.save(tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    (tmp_path / name).unlink()
    store.save(tmp_path)
    (tmp_path / "about.json").write_text("{")  # its own, damaged: made again
    store.save(tmp_path)
    assert len(TokenStore.load(tmp_path)) == 60

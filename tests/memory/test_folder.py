"""The folder of an index: where one can be made is known before it is."""

import json
import os
import shutil
from pathlib import Path

import pytest
from toy import Toy

from memptm import Document, Memory
from memptm.errors import BadIndex, InputError, ModelMissing
from memptm.memory.folder import LONGEST_NAME, IndexFolder, check_place


def test_a_path_that_is_there_or_can_be_made_is_fit(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("nowhere")
    for name in (".", "file", "link", "new", "new/deeper/still", "n" * LONGEST_NAME):
        check_place(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}


def test_a_path_that_cannot_be_made_is_refused_with_the_reason_and_what_to_do(tmp_path):
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "file" / "x", "file is not a folder. Give"),
        (tmp_path / "file" / "x" / "y", "file is not a folder. Give"),
        (tmp_path / "new" / ("n" * 300), "too long. Give"),
        (tmp_path / "pipe" / "x", "pipe is not a folder. Give"),
        (tmp_path / "pipe", "is a device or a pipe. Give"),
        (Path(os.devnull), "is a device or a pipe. Give"),
    ):
        with pytest.raises(InputError, match=said):
            check_place(path)


def test_no_encoder_is_loaded_for_an_index_that_cannot_be_begun(tmp_path):
    (tmp_path / "file").write_text("x")
    for place, said in (
        (tmp_path / "file" / "index", "is not a folder"),
        (tmp_path / ("n" * 300), "too long"),
        ("~no-such-user/index", "a user that is not there"),
    ):
        with pytest.raises(InputError, match=said):
            Memory.open(place, create=True, encoder="no/such-encoder")


def test_a_folder_without_the_right_to_write_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)  # root may do all
    with pytest.raises(InputError, match="permission denied"):
        check_place(tmp_path / "new" / "file")


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A relative name of an encoder's folder, as one gives it below ``tmp_path``; any folder of that name is loaded."""

    def load(name):
        if not Path(name).is_dir():
            raise ModelMissing(f"{name}: no such folder or file. Give a model's folder, or its name.")
        return Toy(name=name)

    monkeypatch.setattr("memptm.memory.opening._load_encoder", load)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub" / "model").mkdir(parents=True)
    return "sub/model"


@pytest.mark.parametrize("given", ["sub/model", "./sub/model", "sub/../sub/model"])
def test_a_relative_encoder_is_found_from_every_directory(model, tmp_path, monkeypatch, given):
    Memory.open("index", create=True, encoder=given).add(Document(text="The door is red."))
    monkeypatch.chdir(tmp_path / "sub")
    memory = Memory.open(tmp_path / "index")
    assert len(memory.search("door", mode="dense")) == 1
    assert memory.manifest.encoder == str(tmp_path / "sub" / "model")


def test_an_encoder_inside_the_index_moves_with_it(tmp_path, model, monkeypatch):
    index = tmp_path / "index"
    Memory.open(index, create=True, encoder=model).add(Document(text="The door is red."))
    shutil.copytree(tmp_path / model, index / "encoder")
    manifest = json.loads((index / "memptm.json").read_text())
    (index / "memptm.json").write_text(
        json.dumps({**manifest, "encoder": IndexFolder(index)._portable("index/encoder")})
    )
    shutil.rmtree(tmp_path / model)
    index.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path.parent)
    memory = Memory.open(tmp_path / "moved")
    assert len(memory.search("door")) == 1
    assert memory.manifest.encoder == str(tmp_path / "moved" / "encoder")


def test_an_encoder_that_is_gone_is_named_with_its_index_and_the_remedy(tmp_path, model):
    Memory.open("index", create=True, encoder=model).add(Document(text="The door is red."))
    (tmp_path / "sub" / "model").rename(tmp_path / "elsewhere")
    memory = Memory.open("index")
    with pytest.raises(ModelMissing, match=r"index needs its encoder, .*sub/model.*--encoder PATH"):
        memory.search("door")
    assert memory.info()["passages"] == 1
    assert len(memory.search("door", mode="lexical", cosines=False)) == 1
    assert len(Memory.open("index", encoder=str(tmp_path / "elsewhere")).search("door")) == 1


def test_an_encoder_with_a_name_keeps_it(tmp_path):
    made = Memory.open(tmp_path / "index", create=True, encoder=Toy(name="hub/name"))
    assert Memory.open(made.path, encoder=Toy(name="hub/name")).manifest.encoder == "hub/name"


def test_files_that_only_look_like_leftovers_are_left_alone(tmp_path):
    made = Memory.open(tmp_path / "index", create=True, encoder=Toy())
    (made.path / "mine.tmp").write_text("mine")
    (made.path / "files.json.99.tmp").write_text("half")
    made.add(Document(text="The door is red."))
    assert (made.path / "mine.tmp").read_text() == "mine"
    assert not (made.path / "files.json.99.tmp").exists()


def test_a_folder_that_may_not_be_looked_into_is_one_clear_error(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", denied)  # root may do all
    with pytest.raises(BadIndex, match="permission denied"):
        IndexFolder(tmp_path).manifest()

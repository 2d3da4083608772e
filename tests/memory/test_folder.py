"""The folder of an index: where one can be made is known before it is."""

import os
from pathlib import Path

import pytest

from memptm import Memory
from memptm.errors import InputError
from memptm.memory.folder import LONGEST_NAME, check_place


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

"""Which files are found under a path, and which are refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from memptm.documents.find import find
from memptm.documents.load import Refused, load
from memptm.errors import InputError


def found(*paths: Path) -> tuple[list[str], dict[str, str]]:
    refused = {}
    files = list(find(paths, refuse=lambda refusal: refused.update({Path(refusal.path).name: refusal.reason})))
    return [file.name for file in files], refused


def test_files_come_sorted_within_their_folder_and_hidden_ones_not(tmp_path):
    for name in ("b.txt", "a/z.txt", "a/c.txt", ".hidden", ".git/config", "C.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert found(tmp_path) == (["C.txt", "c.txt", "z.txt", "b.txt"], {})


def test_a_hidden_file_that_is_named_is_taken(tmp_path):
    (tmp_path / ".notes").write_text("x")
    assert found(tmp_path / ".notes")[0] == [".notes"]


def test_files_of_one_name_are_two(tmp_path):  # F30
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "readme.md").write_text(folder)
    assert found(tmp_path)[0] == ["readme.md", "readme.md"]


def test_a_file_named_twice_or_linked_is_found_once(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    assert found(tmp_path, tmp_path / "a.txt")[0] == ["a.txt"]


def test_links_in_a_circle_end(tmp_path):  # F99
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    files, refused = found(tmp_path)
    assert files == ["a.txt"]
    assert list(refused) == ["self"]


def test_pipes_sockets_and_broken_links_are_refused_without_a_hang(tmp_path):  # F99
    (tmp_path / "good.txt").write_text("good")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind(os.path.relpath(tmp_path / "socket"))
        files, refused = found(tmp_path)
    assert files == ["good.txt"]
    assert refused == {
        "pipe.txt": "not a file but a named pipe",
        "gone.txt": "a broken link",
        "socket": "not a file but a socket",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_refused(tmp_path):  # F99
    (tmp_path / "shut.txt").write_text("x")
    (tmp_path / "shut.txt").chmod(0)
    (tmp_path / "shut").mkdir(mode=0)
    try:
        files, refused = found(tmp_path)
        assert (files, refused) == (["shut.txt"], {"shut": "permission denied"})
        with pytest.raises(Refused, match="permission denied"):
            list(load(tmp_path / "shut.txt", warn=pytest.fail))
    finally:
        (tmp_path / "shut").chmod(0o700)


def test_a_name_that_is_no_text_is_refused(tmp_path):
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    except OSError:
        pytest.skip("this file system takes only names that are UTF-8")
    files, refused = found(tmp_path)
    assert files == []
    assert list(refused) == ["\ufffd.txt"]


def test_a_path_that_is_not_there_is_the_users_error_before_anything_else(tmp_path):
    with pytest.raises(InputError, match="missing"):
        find([tmp_path, tmp_path / "missing"], refuse=pytest.fail)

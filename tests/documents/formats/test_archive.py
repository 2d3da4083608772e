"""ZIP exports: members are files of their own, and no archive fills the machine."""

from __future__ import annotations

import json
import zipfile

import pytest

from memptm.documents import archives
from memptm.documents.load import Refused, load


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_members_are_documents_and_what_cannot_go_in_is_said(tmp_path):
    path = zipped(
        tmp_path / "export.zip",
        {
            "a/notes.txt": "The key is under the mat.",
            "b.csv": "part,shelf\nlamp,C2\n",
            "c.png": b"\x89PNG",
            "__MACOSX/x": "x",
        },
    )
    warnings = []
    notes, table = load(path, warn=warnings.append)
    assert (notes.source, notes.title, notes.text) == (f"{path}/a/notes.txt", "notes", "The key is under the mat.")
    assert table.text == "part: lamp; shelf: C2"
    assert warnings == [f"{path}/c.png: left out: binary: a PNG image"]


def test_an_export_of_slack_finds_its_users(tmp_path):
    said = [{"type": "message", "user": "U1", "text": "Hello", "ts": "1750147200.0"}]
    members = {
        "users.json": json.dumps([{"id": "U1", "real_name": "Ida Lund"}]),
        "quay/2025-06-17.json": json.dumps(said),
    }
    documents = list(load(zipped(tmp_path / "slack.zip", members), warn=lambda line: None))
    assert "Ida Lund: Hello" in [document.text for document in documents]


def test_archives_in_archives_end_somewhere(tmp_path):
    path = zipped(tmp_path / "0.zip", {"deep.txt": "words"})
    for n in range(1, 6):
        path = zipped(tmp_path / f"{n}.zip", {f"{n}.zip": path.read_bytes()})
    warnings = []
    with pytest.raises(Refused, match="no document"):
        list(load(path, warn=warnings.append))
    assert any("deep; unpack it" in line for line in warnings)


def test_what_unpacks_to_too_much_is_refused_unread(tmp_path, monkeypatch):
    path = zipped(tmp_path / "bomb.zip", {"zeros.txt": "0" * 1_000_000})
    monkeypatch.setattr(archives, "MOST_BYTES", 100_000)
    with pytest.raises(Refused, match="unpacks to more than"):
        list(load(path, warn=pytest.fail))


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    path = zipped(tmp_path / "many.zip", {f"{n}.txt": "x" for n in range(20)})
    monkeypatch.setattr(archives, "MOST_MEMBERS", 10)
    with pytest.raises(Refused, match="at most 10"):
        list(load(path, warn=pytest.fail))

"""What comes out of a text file, and which files are refused with which reason."""

from __future__ import annotations

import gzip
import time
import zipfile

import pytest

from memptm.documents import load as module
from memptm.documents.load import Refused, load
from memptm.documents.split import split


def one(path, warn=pytest.fail):
    (document,) = load(path, warn=warn)
    return document


def reason(path):
    with pytest.raises(Refused) as caught:
        list(load(path, warn=lambda line: None))
    assert caught.value.path == str(path)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def test_a_text_file_stays_as_it_stands(tmp_path):
    text = "One.\r\nTwo.\rThree\u2028 — ünd\n"
    (tmp_path / "my notes.txt").write_bytes(text.encode())
    document = one(tmp_path / "my notes.txt")
    assert (document.text, document.title) == (text, "my notes")
    assert document.id == document.source == str(tmp_path / "my notes.txt")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", ["Outgoing: 12 crates.", "Größe 東京 🙂"])
def test_a_byte_order_mark_decides(tmp_path, encoding, text):  # F01
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert one(tmp_path / "a.txt").text == text


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", "Twelve crates."), ("a.md", "# Crates\n\nTwelve."), ("a.html", "<!doctype html><h1>Twelve</h1>")],
)
def test_a_second_mark_is_no_text(tmp_path, name, text):
    texts = []
    for marks in ("", "\ufeff\ufeff", "\ufeff" * 3):
        (tmp_path / name).write_text(marks + text, "utf-8")
        texts.append((one(tmp_path / name).text, one(tmp_path / name).title))
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("name", "lines", "text"),
    [
        ("a.md", ["---", "title: Crates", "---", "# Twelve", "of them"], "# Twelve{end}of them"),
        ("a.csv", ["ware,count", "crates,12"], "ware: crates; count: 12"),
        ("a.txt", ["Twelve crates.", "And ropes."], "Twelve crates.{end}And ropes."),
    ],
)
def test_line_ends_of_any_system_part_lines(tmp_path, end, name, lines, text):
    (tmp_path / name).write_text(end.join(lines), "utf-8", newline="")
    (passage,) = split(one(tmp_path / name))
    assert passage.text == text.format(end=end)
    assert passage.title == ("Crates" if name == "a.md" else passage.title)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_dashes_that_begin_no_front_matter_cost_no_time(tmp_path, end):
    (tmp_path / "a.md").write_text("---" + end + f"word{end}" * 2_000, "utf-8", newline="")
    began = time.process_time()
    assert one(tmp_path / "a.md").text.count("word") == 2_000
    assert time.process_time() - began < 2


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_refused(tmp_path, encoding):  # F01
    (tmp_path / "b.txt").write_bytes("Outgoing: 12 crates.".encode(encoding))
    assert "UTF-16" in reason(tmp_path / "b.txt")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Der Bär aß Käse für fünf Könige und hörte schöne Märchen über Füchse. " * 5),
        ("cp1252", "Käse für “alle” kostet heute — nur heute — 5 €"),
        ("koi8-r", "Маяк построен в 1871 году инженером, и он стоит на высоком берегу моря. " * 5),
        ("shift-jis", "灯台は千八百七十一年に建てられました。高さは四十三メートルです。" * 5),
    ],
)
def test_an_older_encoding_is_told_where_that_is_sure(tmp_path, encoding, text):
    (tmp_path / "old.txt").write_bytes(text.encode(encoding))
    assert one(tmp_path / "old.txt").text == text


def test_nul_is_removed_before_offsets_are_counted(tmp_path):  # F04
    (tmp_path / "a.txt").write_bytes(b"Alpha\x00Beta holds seven keys.")
    assert one(tmp_path / "a.txt").text == "AlphaBeta holds seven keys."


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b" \n\t ", "no text"),
        ("\u200b\u2060\n\ufeff".encode(), "no text"),
        (b"* * *\n-----\n", "no text"),
        (bytes(range(256)) * 40, "binary"),
        (bytes(range(32)) * 40, "binary"),
        ("Привет, мир".encode("cp1251"), "encoding that cannot be told"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG"),
        (gzip.compress(b"x", mtime=0), "gzip"),
        (b"\xff\xfeO\x00\xd8", "utf-16"),
    ],
)
def test_what_is_no_text_is_refused_by_name_with_the_reason(tmp_path, data, why):
    (tmp_path / "file.txt").write_bytes(data)
    assert why in reason(tmp_path / "file.txt")


@pytest.mark.parametrize("head", ["<svg ", "<?xml version='1.0'?>\n<!-- made by a script -->\n<svg ", "\ufeff  <SVG "])
def test_a_drawing_is_no_text(tmp_path, head):
    (tmp_path / "graph.svg").write_text(head + 'xmlns="http://www.w3.org/2000/svg"><text>seven</text></svg>', "utf-8")
    assert "a picture: SVG" in reason(tmp_path / "graph.svg")


def test_a_text_about_drawings_is_a_text(tmp_path):
    (tmp_path / "notes.md").write_text("In SVG a drawing begins with <svg> and ends with </svg>.", "utf-8")
    assert "begins with" in one(tmp_path / "notes.md").text


@pytest.mark.parametrize(
    ("member", "why"), [("xl/workbook.bin", "save it as XLSX"), ("Index/Document.iwa", "export it as DOCX")]
)
def test_archives_that_nothing_reads_say_what_to_do(tmp_path, member, why):
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr(member, "x")
    assert why in reason(tmp_path / "a.docx")


def test_an_enormous_file_is_refused_with_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 3 * 2**20)
    (tmp_path / "a.txt").write_bytes(b"word " * 2**20)
    assert "at most 3 MB" in reason(tmp_path / "a.txt")


def test_a_file_that_went_away_is_refused(tmp_path):
    assert "no such file" in reason(tmp_path / "gone.txt")


def test_content_decides_where_the_name_lies(tmp_path):
    (tmp_path / "page.txt").write_text("<!DOCTYPE html><title>Bridge</title><p>It carries a <b>rail</b>way.")
    (tmp_path / "note.pdf").write_text("Only a note.")
    (tmp_path / "note.docx").write_text("Only a note.")
    assert (one(tmp_path / "page.txt").title, one(tmp_path / "page.txt").text) == ("Bridge", "It carries a railway.")
    assert one(tmp_path / "note.pdf").text == one(tmp_path / "note.docx").text == "Only a note."

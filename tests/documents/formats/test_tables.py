"""CSV and TSV: the file's own characters, rows whole."""

from __future__ import annotations

import csv
import io

import pytest

from memptm.documents.load import load
from memptm.documents.split import split


def read(tmp_path, text, name="table.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    (document,) = load(tmp_path / name, warn=pytest.fail)
    assert document.text == text
    return document


def written(rows, **options):
    file = io.StringIO()
    csv.writer(file, **options).writerows(rows)
    return file.getvalue()


def test_a_table_is_one_document_and_its_header_the_context(tmp_path):
    document = read(tmp_path, written([["name", "capital"], *([f"Land {n}", f"City {n}"] for n in range(60))]))
    passages = split(document, words=40)
    assert len(passages) > 3
    assert {passage.context for passage in passages} == {"name,capital"}
    assert "Land 59,City 59" in passages[-1].text.split("\r\n")


@pytest.mark.parametrize(("delimiter", "name"), [(";", "a.csv"), ("\t", "a.csv"), ("|", "a.csv"), ("\t", "a.tsv")])
def test_a_row_of_several_lines_is_kept_whole(tmp_path, delimiter, name):
    rows = [
        ["name", "note"],
        ["Ann", "first\n\nsecond"],
        ["Bo", 'a "b" c'],
        *([f"n{n}", "more words"] for n in range(20)),
    ]
    document = read(tmp_path, written(rows, delimiter=delimiter), name)
    passages = split(document, words=9, overlap=0)
    assert sum(f'Ann{delimiter}"first\n\nsecond"' in passage.text for passage in passages) == 1
    assert {passage.context for passage in passages} == {f"name{delimiter}note"}


def test_a_cell_of_any_size_goes_in(tmp_path):  # F07
    cell = "x" * 200_000 + " needle"
    passages = split(read(tmp_path, written([["a", "b"], ["1", cell], ["2", "y"]])))
    assert any("needle" in passage.text for passage in passages)
    assert csv.field_size_limit() == 131_072  # the caller's setting is left as it was


def test_a_single_row_is_text(tmp_path):
    (passage,) = split(read(tmp_path, "only,one,row"))
    assert (passage.text, passage.context) == ("only,one,row", "")


def test_cells_count_as_words_though_no_blank_parts_them(tmp_path):
    passages = split(read(tmp_path, written([[f"a{n}", n, n, n] for n in range(100)])), words=40, overlap=0)
    assert len(passages) == 10

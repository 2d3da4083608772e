"""CSV and TSV: whatever the delimiter, a record a row."""

from __future__ import annotations

import csv
import io

import pytest

from memptm.documents.load import load
from memptm.documents.split import split


def read(tmp_path, text, name="table.csv", encoding="utf-8"):
    (tmp_path / name).write_text(text, encoding=encoding, newline="")
    (document,) = load(tmp_path / name, warn=pytest.fail)
    return document


def written(rows, **options):
    file = io.StringIO()
    csv.writer(file, **options).writerows(rows)
    return file.getvalue()


def test_a_table_is_one_document_and_a_row_a_passage(tmp_path):
    document = read(tmp_path, written([["name", "capital"], *([f"Land {n}", f"City {n}"] for n in range(60))]))
    passages = split(document, words=40)
    assert len(passages) == 60
    assert passages[59].text == "name: Land 59; capital: City 59"
    assert passages[59].metadata["row"] == 61  # as a spreadsheet counts


@pytest.mark.parametrize(
    ("delimiter", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.csv"), ("|", "a.csv"), ("\t", "a.tsv")]
)
def test_a_row_of_several_lines_is_one_record(tmp_path, delimiter, name):
    rows = [["name", "note"], ["Ann", "first\n\nsecond"], ["Bo", 'a "b" c'], *([f"n{n}", "more"] for n in range(20))]
    first, second, *_ = split(read(tmp_path, written(rows, delimiter=delimiter), name), words=9, overlap=0)
    assert (first.text, second.text) == ("name: Ann; note: first second", 'name: Bo; note: a "b" c')


def test_decimal_commas_and_dates_are_typed(tmp_path):
    text = "Datum;Text;Betrag\n02.06.2025;Übertrag;1.412,60\n03.06.2025;Verkauf;-40,00\n"
    document = read(tmp_path, text, encoding="cp1252")
    assert document.blocks[0].metadata["cells"] == {"Datum": "2025-06-02", "Text": "Übertrag", "Betrag": 1412.6}
    assert document.blocks[1].metadata["cells"]["Betrag"] == -40


def test_a_line_that_names_the_delimiter_is_no_row(tmp_path):
    assert read(tmp_path, "sep=;\r\nname;age\r\nAnn;41\r\n").text == "name: Ann; age: 41"


def test_a_cell_of_any_size_goes_in(tmp_path):  # F07
    cell = "x" * 200_000 + " needle"
    passages = split(read(tmp_path, written([["a", "b"], ["1", cell], ["2", "y"]])))
    assert any("needle" in passage.text for passage in passages)
    assert csv.field_size_limit() == 131_072  # the caller's setting is left as it was


def test_a_single_row_is_text(tmp_path):
    (passage,) = split(read(tmp_path, "only,one,row"))
    assert passage.text == "only; one; row"

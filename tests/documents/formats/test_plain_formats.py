"""Calendars, subtitles, notebooks, markup and code: small files as programs write them."""

from __future__ import annotations

import json

import pytest

from memptm.documents.load import Refused, load


def read(tmp_path, name, text, warn=pytest.fail):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    (document,) = load(tmp_path / name, warn=warn)
    return document


def parts(document, kind):
    return [document.text[block.start : block.end] for block in document.blocks if block.kind == kind]


CALENDAR = """BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//x//y//EN\r
X-WR-CALNAME:Quay\r
BEGIN:VEVENT\r
UID:1\r
DTSTART;TZID=Europe/Oslo:20250708T140000\r
DTEND;TZID=Europe/Oslo:20250708T153000\r
SUMMARY:Visit of the Trust\r
LOCATION:Old Exchange\\, room 4\r
ATTENDEE;CN=Ida Lund:mailto:ida@x.example\r
RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=3\r
END:VEVENT\r
BEGIN:VEVENT\r
UID:2\r
DTSTART;VALUE=DATE:20250721\r
DTEND;VALUE=DATE:20250805\r
SUMMARY:Tor on holiday\r
END:VEVENT\r
END:VCALENDAR\r
"""


def test_an_entry_of_a_calendar_is_a_record(tmp_path):
    document = read(tmp_path, "a.ics", CALENDAR)
    assert document.title == "Quay"
    visit, holiday = parts(document, "record")
    assert visit == (
        "What: Visit of the Trust; From: Tuesday, 8 July 2025, 14:00; Until: Tuesday, 8 July 2025, 15:30; "
        "Repeats: weekly on TU 3 times; Where: Old Exchange, room 4; With: Ida Lund"
    )
    assert holiday == "What: Tor on holiday; From: Monday, 21 July 2025; Until: Monday, 4 August 2025"
    assert document.blocks[0].metadata == {"time": "2025-07-08T14:00:00", "until": "2025-07-08T15:30:00"}


def test_subtitles_become_sentences_with_their_time(tmp_path):
    text = "1\n00:00:01,000 --> 00:00:04,500\nI was a pilot\n\n2\n00:00:04,500 --> 00:00:08,000\n<i>in Garrowby.</i>\n\n3\n00:01:18,000 --> 00:01:22,000\nThe mud worries me.\n"
    document = read(tmp_path, "talk.srt", text)
    assert document.text == "I was a pilot in Garrowby.\nThe mud worries me."
    assert document.blocks[1].metadata == {"start": 78.0, "end": 82.0}
    assert document.blocks[1].context == "at 1:18"


def test_voices_of_webvtt_are_turns(tmp_path):
    text = "WEBVTT\n\nNOTE recorded in May\n\n00:02.000 --> 00:06.000\n<v Owen Pell>What holds it up?\n\n00:06.500 --> 00:09.000\n<v Ida>The larch.\n"
    document = read(tmp_path, "call.vtt", text)
    assert document.text.split("\n") == ["recorded in May", "Owen Pell: What holds it up?", "Ida: The larch."]
    assert [block.metadata.get("speaker") for block in document.blocks] == [None, "Owen Pell", "Ida"]


def test_a_notebook_has_its_text_code_and_output(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Fuel\n", "\n", "The tug uses most."]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"output_type": "stream", "text": ["1412.0 l\n"]}]},
        {"cell_type": "code", "source": "df", "outputs": [{"output_type": "display_data", "data": {"text/html": "<table><tr><th>boat</th><th>l</th></tr><tr><td>Eel</td><td>388.5</td></tr></table>"}}]},
    ]  # fmt: skip
    document = read(
        tmp_path, "a.ipynb", json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}})
    )
    assert document.title == "Fuel"
    assert "The tug uses most." in document.text
    assert parts(document, "code") == ["print(1)", "1412.0 l", "df"]
    assert parts(document, "record") == ["boat: Eel; l: 388.5"]
    assert document.blocks[-1].metadata["cell"] == 3


def test_functions_of_a_program_are_units(tmp_path):
    text = '"""Rates."""\nRATE = 58\n\n\n# of a job\ndef total(hours):\n    return hours * RATE\n\n\nclass Bad(ValueError):\n    pass\n'
    document = read(tmp_path, "rates.py", text)
    assert document.text == text
    assert [part.strip().splitlines()[0] for part in parts(document, "code")] == [
        '"""Rates."""',
        "# of a job",
        "class Bad(ValueError):",
    ]


def test_programs_in_other_languages_are_cut_at_their_definitions(tmp_path):
    text = "package main\n\nfunc Add(a int) int {\n\treturn a\n}\n\nfunc Sub(a int) int {\n\treturn -a\n}\n"
    document = read(tmp_path, "m.go", text)
    assert document.text == text
    assert [part.split("(")[0] for part in parts(document, "code")][1:] == ["func Add", "func Sub"]


def test_latex_has_sections_and_tables(tmp_path):
    text = (
        "\\documentclass{article}\\title{The \\emph{mill}}\\begin{document}\\maketitle % not this\n"
        "\\section{Age}\nIt was built in 1871 --- of stone.\n\n\\begin{tabular}{ll}\\hline Part & Year \\\\ \\hline\n"
        "Wheel & 1871 \\\\ Roof & 1902 \\\\ \\hline\\end{tabular}\n\\end{document}"
    )
    document = read(tmp_path, "mill.tex", text)
    assert document.title == "The mill"
    assert parts(document, "heading") == ["Age"]
    assert "built in 1871" in document.text
    assert "not this" not in document.text
    assert parts(document, "record") == ["Part: Wheel; Year: 1871", "Part: Roof; Year: 1902"]


def test_rst_has_sections_and_tables_and_reads_no_other_file(tmp_path):
    (tmp_path / "secret.txt").write_text("SECRET")
    text = (
        "Mill\n====\n\nIt turns *slowly*.\n\n.. include:: secret.txt\n\n"
        "===== ====\nPart  Year\n===== ====\nWheel 1871\nRoof  1902\n===== ====\n"
    )
    document = read(tmp_path, "mill.rst", text)
    assert parts(document, "heading") == ["Mill"]
    assert "It turns slowly." in document.text
    assert "SECRET" not in document.text
    assert parts(document, "record") == ["Part: Wheel; Year: 1871", "Part: Roof; Year: 1902"]


def test_org_has_headings_and_tables_without_marks(tmp_path):
    text = "#+TITLE: The mill\n* TODO Age :old:\n:PROPERTIES:\n:ID: 1\n:END:\nIt is *old*, see [[x.org][there]].\n\n| Part | Year |\n|------+------|\n| Wheel | 1871 |\n| Roof | 1902 |\n"
    document = read(tmp_path, "mill.org", text)
    assert document.title == "The mill"
    assert parts(document, "heading") == ["Age"]
    assert parts(document, "text") == ["It is old, see there."]
    assert parts(document, "record") == ["Part: Wheel; Year: 1871", "Part: Roof; Year: 1902"]


def test_front_matter_is_metadata_and_in_no_passage(tmp_path):
    from memptm.documents.split import split

    text = "---\ntitle: The mill\ntags: [old, stone]\nupdated: 2025-02-18\n---\n# Age\n\nIt was built in 1871.\n"
    document = read(tmp_path, "mill.md", text)
    assert document.text == text
    assert (document.title, document.metadata) == ("The mill", {"tags": ["old", "stone"], "updated": "2025-02-18"})
    assert [passage.text for passage in split(document)] == ["# Age\n\nIt was built in 1871."]


def test_a_rule_at_the_beginning_is_no_front_matter(tmp_path):
    document = read(tmp_path, "a.md", "---\n\nOnly a rule: above.\n\n---\n\nMore.\n")
    assert "Only a rule" in document.text
    assert document.metadata in ({}, {"Only a rule": "above."})


@pytest.mark.parametrize(
    ("name", "text"), [("a.ics", "BEGIN:VCALENDAR\nnonsense"), ("a.ipynb", "{}"), ("a.srt", "1\n2\n3\n")]
)
def test_broken_ones_are_refused_in_a_line(tmp_path, name, text):
    with pytest.raises(Refused) as caught:
        read(tmp_path, name, text, warn=lambda line: None)
    assert "\n" not in str(caught.value)


def test_what_is_no_subtitle_is_left_out_and_said(tmp_path):
    cue = "{0}\n00:00:0{0},000 --> 00:00:0{0},900\nThe tide turns at {0}.\n\n"
    path = tmp_path / "talk.srt"
    path.write_text(cue.format(1) + "2\n00:00:02,000 torn off here\n\n" + cue.format(3), encoding="utf-8")
    warnings = []
    (document,) = load(path, warn=warnings.append)
    assert document.text == "The tide turns at 1. The tide turns at 3."
    assert warnings == [f"{path}: what is no subtitle is left out, first in line 5"]

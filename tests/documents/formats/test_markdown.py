"""Markdown's headings, fences and tables, and how they are split."""

from __future__ import annotations

import pytest

from memptm.documents.load import load
from memptm.documents.split import split


def read(tmp_path, text):
    (tmp_path / "notes.md").write_text(text, encoding="utf-8", newline="")
    (document,) = load(tmp_path / "notes.md", warn=pytest.fail)
    assert document.text == text or "|--" in text  # tables are written anew
    return document


def headings(document):
    return [block.context for block in document.blocks if block.kind == "heading"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_nothing_in_a_fence_is_a_heading_and_all_prose_is_there(tmp_path, end):  # F23
    fence = end.join(["```sh", "# load", "\tmodprobe  it", "```"])
    document = read(tmp_path, end.join(["# Setup", "", "First prose.", "", fence, "Last prose.", ""]))
    assert headings(document) == ["Setup"]
    for words in (120, 6):
        passages = split(document, words=words, overlap=0)
        assert sum(fence in passage.text for passage in passages) == 1
        joined = "\n".join(passage.text for passage in passages)
        assert "First prose." in joined
        assert "Last prose." in joined
        assert {passage.headings for passage in passages} == {("Setup",)}


def test_a_fence_too_long_for_a_passage_is_cut_at_lines(tmp_path):
    lines = [f"    value = compute({n}, {n})" for n in range(60)]
    document = read(tmp_path, "\n".join(["# Code", "```python", *lines, "```"]))
    passages = split(document, words=40, overlap=0)
    assert len(passages) > 3
    assert all(line in lines for passage in passages[1:-1] for line in passage.text.split("\n"))


def test_a_heading_stays_with_its_section_and_sections_apart(tmp_path):
    text = "# Glacier\n\n## Retreat\n\nIt lost 180 metres.\n\n## *Access* `path`\n\nBy boat.\n\nTwo\n---\nEnd.\n"
    document = read(tmp_path, text)
    assert document.title == "Glacier"
    assert [(passage.headings, passage.text) for passage in split(document)] == [
        (("Glacier", "Retreat"), "# Glacier\n\n## Retreat\n\nIt lost 180 metres."),
        (("Glacier", "Access path"), "## *Access* `path`\n\nBy boat."),
        (("Glacier", "Two"), "Two\n---\nEnd."),
    ]


def test_a_heading_is_not_left_alone_where_its_section_is_cut(tmp_path):
    document = read(tmp_path, "# Long\n\n" + "It is a very long section without any stop " * 30)
    assert all(len(passage.text) > 40 for passage in split(document, words=20, overlap=0))


def test_rows_are_records_and_the_text_around_them_stays(tmp_path):  # F24
    rows = [f"| **Item {n}** | {n},000 |" for n in range(1, 61)]
    rows[54] = "| Anchor | 7,340 |"
    document = read(tmp_path, "\n".join(["Prices:", "", "| Item | Price |", "|---|---|", *rows, "", "All in crowns."]))
    texts = [passage.text for passage in split(document, words=40)]
    assert texts[0] == "Prices:"
    assert texts[1] == "Item: Item 1; Price: 1,000"
    assert texts[55] == "Item: Anchor; Price: 7,340"
    assert texts[-1] == "All in crowns."


def test_front_matter_names_the_title(tmp_path):
    document = read(tmp_path, "---\ntitle: 'The lamp'\n---\n# Other\n\nText.\n")
    assert document.title == "The lamp"
    assert headings(document) == ["Other"]


def test_without_headings_the_title_is_the_files_name(tmp_path):
    assert read(tmp_path, "Only text.").title == "notes"


def test_the_first_of_several_equal_headings_is_no_title(tmp_path):
    assert read(tmp_path, "# Aster\n\nIt costs 500.\n\n# Birch\n\nIt costs 700.\n").title == "notes"
    assert read(tmp_path, "# Plants\n\n## Aster\n\nIt costs 500.\n").title == "Plants"

"""Numbers that Word puts before paragraphs."""

from __future__ import annotations

import docx
import pytest
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls, qn

from memptm.documents.load import load


def level(depth, form, text, start=1):
    return f"<w:lvl w:ilvl='{depth}'><w:start w:val='{start}'/><w:numFmt w:val='{form}'/><w:lvlText w:val='{text}'/></w:lvl>"


class Numbered:
    """A document whose numbering is written out by hand."""

    def __init__(self, *levels):
        self.file = docx.Document()
        self.root = self.file.part.numbering_part.element
        self.root.insert(
            0, parse_xml(f"<w:abstractNum {nsdecls('w')} w:abstractNumId='90'>{''.join(levels)}</w:abstractNum>")
        )
        self.use(91)

    def use(self, number, restart=""):
        over = f"<w:lvlOverride w:ilvl='0'><w:startOverride w:val='{restart}'/></w:lvlOverride>" if restart else ""
        self.root.append(
            parse_xml(f"<w:num {nsdecls('w')} w:numId='{number}'><w:abstractNumId w:val='90'/>{over}</w:num>")
        )

    def add(self, text, depth=0, number=91):
        properties = self.file.add_paragraph(text)._p.get_or_add_pPr()
        found = OxmlElement("w:numPr")
        for tag, value in (("w:ilvl", depth), ("w:numId", number)):
            child = OxmlElement(tag)
            child.set(qn("w:val"), str(value))
            found.append(child)
        properties.append(found)

    def text(self, tmp_path):
        self.file.save(tmp_path / "a.docx")
        (document,) = load(tmp_path / "a.docx", warn=pytest.fail)
        return document.text.split("\n\n")


def test_levels_count_within_each_other(tmp_path):
    file = Numbered(level(0, "decimal", "%1."), level(1, "lowerLetter", "%2)"), level(2, "decimal", "%1.%3"))
    for text, depth in [("Open", 0), ("lid", 1), ("lock", 1), ("Close", 0), ("lid", 1), ("deep", 2)]:
        file.add(text, depth)
    assert file.text(tmp_path) == ["1. Open", "a) lid", "b) lock", "2. Close", "a) lid", "2.1 deep"]


@pytest.mark.parametrize(
    ("form", "third"), [("upperRoman", "IV. x"), ("lowerRoman", "iv. x"), ("upperLetter", "D. x"), ("decimalZero", "04. x"), ("bullet", "x")]
)  # fmt: skip
def test_numbers_are_written_in_their_form_from_their_start(tmp_path, form, third):
    file = Numbered(level(0, form, "%1.", start=2))
    for _ in range(3):
        file.add("x")
    assert file.text(tmp_path)[2] == third


def test_a_list_that_begins_anew_counts_from_its_start(tmp_path):
    file = Numbered(level(0, "decimal", "%1."))
    file.use(92, restart="1")
    for text, number in [("a", 91), ("b", 91), ("c", 92), ("d", 92)]:
        file.add(text, number=number)
    assert file.text(tmp_path) == ["1. a", "2. b", "1. c", "2. d"]


def test_numbers_of_a_style_are_seen(tmp_path):
    file = docx.Document()
    for text in ("Open", "Close"):
        file.add_paragraph(text, style="List Number")
    file.save(tmp_path / "a.docx")
    (document,) = load(tmp_path / "a.docx", warn=pytest.fail)
    assert document.text.split("\n\n") == ["1. Open", "2. Close"]

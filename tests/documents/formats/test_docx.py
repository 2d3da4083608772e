"""DOCX: everything that a reader sees in the body, in its order."""

from __future__ import annotations

import zipfile

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from memptm.documents import archives
from memptm.documents.load import Refused, load
from memptm.documents.split import split

BOX = """<w:r {w} xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" xmlns:v="urn:schemas-microsoft-com:vml"
 xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"><mc:AlternateContent>
 <mc:Choice Requires="wps"><wps:txbx><w:txbxContent>{p}</w:txbxContent></wps:txbx></mc:Choice>
 <mc:Fallback><w:pict><v:textbox><w:txbxContent>{p}</w:txbxContent></v:textbox></w:pict></mc:Fallback>
</mc:AlternateContent></w:r>"""


def read(path):
    (document,) = load(path, warn=pytest.fail)
    return document


def saved(file, tmp_path):
    file.save(tmp_path / "file.docx")
    return tmp_path / "file.docx"


def test_the_order_of_the_body_is_kept(tmp_path):  # F10
    file = docx.Document()
    file.add_heading("Report", level=0)
    file.add_heading("Part one", level=1)
    file.add_paragraph("Before the table.")
    table = file.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ["Item", "Price", "Anchor", "7,340"], strict=True):
        cell.text = text
    file.add_paragraph("After the table.")
    file.sections[0].header.paragraphs[0].text = "RUNNING HEAD"
    document = read(saved(file, tmp_path))
    assert document.title == "Report"
    assert document.text == "Report\n\nPart one\n\nBefore the table.\nItem: Anchor; Price: 7,340\n\nAfter the table."
    assert [p.headings[-1] for p in split(document)] == ["Part one"] * 3


def test_a_text_box_is_read_once(tmp_path):  # F10
    file = docx.Document()
    paragraph = "<w:p><w:r><w:t>Contract 17 ends in May</w:t></w:r></w:p>"
    file.add_paragraph()._p.append(parse_xml(BOX.format(w=nsdecls("w"), p=paragraph)))
    assert read(saved(file, tmp_path)).text == "Contract 17 ends in May"


def test_links_and_insertions_are_read_and_deletions_not(tmp_path):
    file = docx.Document()
    run = "<w:r><w:t xml:space='preserve'>{}</w:t></w:r>"
    inside = f"<w:ins>{run.format('new ')}</w:ins><w:hyperlink>{run.format('linked')}</w:hyperlink><w:del><w:r><w:delText>old</w:delText></w:r></w:del>"
    file.element.body.insert(
        0,
        parse_xml(
            f"<w:sdt {nsdecls('w')}><w:sdtContent><w:p>{inside}<w:r><w:tab/><w:t>end</w:t></w:r></w:p></w:sdtContent></w:sdt>"
        ),
    )
    assert read(saved(file, tmp_path)).text == "new linked\tend"


def test_footnotes_are_read(tmp_path):  # F10
    file = docx.Document()
    file.add_paragraph("Body.")
    plain = saved(file, tmp_path)
    notes = f"<w:footnotes {nsdecls('w')}><w:footnote w:type='separator' w:id='0'><w:p/></w:footnote><w:footnote w:id='1'><w:p><w:r><w:t>See the log.</w:t></w:r></w:p></w:footnote></w:footnotes>"
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(tmp_path / "notes.docx", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "word/_rels/document.xml.rels":
                data = data.replace(
                    b"</Relationships>",
                    f'<Relationship Id="n1" Type="{kind}" Target="footnotes.xml"/></Relationships>'.encode(),
                )
            if name == "[Content_Types].xml":
                part = '<Override PartName="/word/footnotes.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"/></Types>'
                data = data.replace(b"</Types>", part.encode())
            new.writestr(name, data)
        new.writestr("word/footnotes.xml", notes)
    assert read(tmp_path / "notes.docx").text == "Body.\n\nSee the log."


def test_a_document_without_words_is_refused(tmp_path):  # F10
    with pytest.raises(Refused, match="no text"):
        read(saved(docx.Document(), tmp_path))


def test_a_broken_or_bloated_one_is_refused(tmp_path, monkeypatch):
    file = docx.Document()
    file.add_paragraph("Words.")
    path = saved(file, tmp_path)
    with monkeypatch.context() as limits:
        limits.setattr(archives, "MOST_BYTES", 1_000)
        with pytest.raises(Refused, match="unpacks to more than"):
            read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<not")
    with pytest.raises(Refused, match="broken DOCX"):
        read(path)
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(Refused, match="broken"):
        read(path)

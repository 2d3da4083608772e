"""Mail as Python's own library writes it."""

from __future__ import annotations

import mailbox
from email.message import EmailMessage

import pytest

from memptm.documents.load import Refused, load


def message(subject="The crane", body="The crane is due on 3 May.\n", **headers):
    made = EmailMessage()
    made["From"] = headers.get("sender", "Rosa Lind <rosa@quay.example>")
    made["To"] = "Ben Odu <ben@quay.example>, harbour@quay.example"
    made["Subject"] = subject
    made["Date"] = headers.get("date", "Tue, 29 Apr 2025 09:15:00 +0200")
    made["Message-ID"] = headers.get("number", "<1@quay.example>")
    made.set_content(body, cte=headers.get("cte"))
    return made


def read(path, warn=pytest.fail):
    return list(load(path, warn=warn))


def said(document, *, quoted=False):
    return [
        document.text[block.start : block.end]
        for block in document.blocks
        if not block.metadata.get("headers") and block.metadata.get("quoted", False) is quoted
    ]


@pytest.mark.parametrize("cte", ["quoted-printable", "base64", "8bit"])
def test_words_and_headers_are_read_whatever_the_encoding(tmp_path, cte):
    (tmp_path / "a.eml").write_bytes(message("Größe – 5 €", "Der Käfig kostet 5 €.\n", cte=cte).as_bytes())
    (document,) = read(tmp_path / "a.eml")
    assert document.title == "Größe – 5 €"
    assert said(document) == ["Der Käfig kostet 5 €."]
    assert document.metadata["from"] == "Rosa Lind <rosa@quay.example>"
    assert document.metadata["to"] == ["Ben Odu <ben@quay.example>", "harbour@quay.example"]
    assert document.metadata["date"] == "2025-04-29T09:15:00"
    assert "From: Rosa Lind <rosa@quay.example>" in document.text


def test_what_is_quoted_of_others_is_marked(tmp_path):
    body = "It moves to 5 May.\n\nRosa\n\nOn Mon, 28 Apr 2025 at 10:02, Ben Odu <ben@quay.example> wrote:\n> Is it due on 3 May?\n> Ben\n"
    (tmp_path / "a.eml").write_bytes(message(body=body).as_bytes())
    (document,) = read(tmp_path / "a.eml")
    assert said(document) == ["It moves to 5 May.\n\nRosa"]
    assert said(document, quoted=True) == [
        "On Mon, 28 Apr 2025 at 10:02, Ben Odu <ben@quay.example> wrote:\nIs it due on 3 May?\nBen"
    ]


def test_html_alone_is_read_as_html(tmp_path):
    made = message()
    made.set_content("<p>Bring <b>two</b> ropes.</p><p style='display: none'>99 percent off</p>", subtype="html")
    (tmp_path / "a.eml").write_bytes(made.as_bytes())
    (document,) = read(tmp_path / "a.eml")
    assert said(document) == ["Bring two ropes."]


def test_an_attachment_is_a_document_of_its_own(tmp_path):
    made = message()
    made.add_attachment(b"part,shelf\nlamp,C2\n", maintype="text", subtype="csv", filename="stock.csv")
    made.add_attachment(message("Inner", "The inner words.\n"))
    made.add_attachment(b"\x89PNG\r\n", maintype="image", subtype="png", filename="photo.png")
    (tmp_path / "a.eml").write_bytes(made.as_bytes())
    warnings = []
    outer, table, inner = read(tmp_path / "a.eml", warnings.append)
    assert outer.title == "The crane"
    assert (table.source, table.text) == (f"{tmp_path}/a.eml/stock.csv", "part: lamp; shelf: C2")
    assert (inner.title, said(inner)) == ("Inner", ["The inner words."])
    assert warnings == [f"{tmp_path}/a.eml/photo.png: left out: binary: a PNG image"]


def test_a_mailbox_is_a_document_a_message(tmp_path):
    box = mailbox.mbox(tmp_path / "in.mbox")
    box.add(message("One", "First.\nFrom here on it is easy.\n"))
    box.add(message("Two", "Second.\n", number="<2@quay.example>"))
    box.add(message("Two again", "Third.\n", number="<2@quay.example>"))
    box.close()
    documents = read(tmp_path / "in.mbox")
    assert [document.title for document in documents] == ["One", "Two", "Two again"]
    assert said(documents[0]) == ["First.\nFrom here on it is easy."]
    assert len({document.id for document in documents}) == 3
    assert {document.source for document in documents} == {str(tmp_path / "in.mbox")}


@pytest.mark.parametrize("data", [b"From: a\n\n", b"\n\nno headers at all", b"From: \xff\xfe\nDate: never\n\nwords"])
def test_odd_messages_are_read_or_refused(tmp_path, data):
    (tmp_path / "a.eml").write_bytes(data)
    reason = ""
    documents = []
    try:
        documents = read(tmp_path / "a.eml", lambda line: None)
    except Refused as refused:
        reason = refused.reason
    assert bool(documents) != bool(reason)
    assert "\n" not in reason


def test_a_saved_page_is_read_as_its_html(tmp_path):
    made = EmailMessage()
    made["Subject"] = "x"
    made.set_content("<title>Quay</title><nav>Menu</nav><main><p>The quay is 90 m long.</p></main>", subtype="html")
    (tmp_path / "a.mht").write_bytes(made.as_bytes())
    (document,) = read(tmp_path / "a.mht")
    assert (document.title, document.text) == ("Quay", "The quay is 90 m long.")

"""Mail: a message as a document, with its headers to be filtered and its attachments as documents of their own."""

from __future__ import annotations

import email
import email.policy
import io
import mailbox
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from email.message import EmailMessage, MIMEPart
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import PurePath
from typing import Any

from memptm.documents.decode import decode
from memptm.documents.draft import Draft, Extracted, one_line
from memptm.documents.file import File
from memptm.documents.refused import Refused
from memptm.documents.times import day

Attached = Callable[[File], Iterator[Extracted]]

_QUOTE = re.compile(r"^[ \t]*>")
_INTRODUCES = re.compile(
    r"(?:^|\n)(?P<line>(?:On |Am |Le |El |Il |Op |Den |-{2,} ?(?:Original|Forwarded|Ursprüngliche|Weitergeleitete)"
    r"|_{10,})[^\n]{0,200}(?:\n[^\n>]{0,120})?(?:wrote|schrieb|écrit|escribió|scritto|schreef|skrev|Message|Nachricht|_)"
    r"[^\n]{0,60}:?-*)\s*(?=\n|$)"
)
_SIGNATURE = re.compile(r"\n-- ?\n")
_BLANK_LINES = re.compile(r"\n{3,}")


def read(file: File, *, attached: Attached) -> Iterator[Extracted]:
    """One message (.eml).

    Args:
        attached: reads an attachment as a file of its own.
    """
    message = email.message_from_bytes(file.data, policy=email.policy.default)
    if not message.keys():
        file.warn(f"{file.path}: no headers; read as the body of a message")
    yield from _documents(message, file, part="", attached=attached)


def read_mbox(file: File, *, attached: Attached) -> Iterator[Extracted]:
    """A document a message (.mbox), its part the Message-ID."""
    with tempfile.NamedTemporaryFile(suffix=".mbox") as copy:
        copy.write(file.data)
        copy.flush()
        box = mailbox.mbox(copy.name, factory=None, create=False)
        seen: set[str] = set()
        try:
            for number, kept in enumerate(box, start=1):
                data = kept.as_bytes(unixfrom=False).replace(b"\n>From ", b"\nFrom ")
                message = email.message_from_bytes(data, policy=email.policy.default)
                part = _header(message, "Message-ID").strip("<>") or str(number)
                part = f"{part} ({number})" if part in seen else part
                seen.add(part)
                yield from _documents(message, file, part=part, attached=attached)
        finally:
            box.close()


def read_msg(file: File, *, attached: Attached) -> Iterator[Extracted]:
    """One message of Outlook (.msg)."""
    import oxmsg

    found = oxmsg.Message.load(io.BytesIO(file.data))
    headers = {name.lower(): str(value) for name, value in found.message_headers.items()}
    sent = found.sent_date.isoformat() if found.sent_date else _iso(headers.get("date", ""))
    to = [f"{one.name} <{one.email_address}>" if one.name else one.email_address for one in found.recipients]
    body = found.body or (_plain_html(found.html_body) if found.html_body else "")
    yield _message(one_line(found.subject or ""), one_line(found.sender or ""), to, [], sent, body, part="")
    for number, one in enumerate(found.attachments, start=1):
        name = PurePath(one.file_name or f"attachment {number}").name
        yield from _attachment(file, name, one.file_bytes or b"", "", attached)


def read_page(file: File) -> Iterator[Extracted]:
    """A web page saved whole (.mht): its first HTML part."""
    from memptm.documents.formats import html

    message = email.message_from_bytes(file.data, policy=email.policy.default)
    page = next((part for part in message.walk() if part.get_content_type() == "text/html"), None)
    data = page.get_payload(decode=True) if page is not None else None
    if page is None or not isinstance(data, bytes):
        raise Refused(file.path, "a saved page without HTML in it; save it as HTML")
    yield html.read(decode(data, declared=page.get_content_charset() or html.declared_encoding(data)))


def _documents(message: EmailMessage, file: File, *, part: str, attached: Attached) -> Iterator[Extracted]:
    body = message.get_body(preferencelist=("plain", "html"))
    text = "" if body is None else _text(body)
    people = {name: _people(message, name) for name in ("From", "To", "Cc")}
    yield _message(
        one_line(_header(message, "Subject")),
        ", ".join(people["From"]),
        people["To"],
        people["Cc"],
        _iso(_header(message, "Date")),
        text,
        part=part,
    )
    for number, one in enumerate(message.iter_attachments(), start=1):
        name = PurePath((one.get_filename() or "").replace("\\", "/")).name
        if one.get_content_type() == "message/rfc822":
            inner: Any = one.get_payload(0)
            data, name = inner.as_bytes(), name or f"message {number}.eml"
        else:
            payload = one.get_payload(decode=True)
            data = payload if isinstance(payload, bytes) else b""
        yield from _attachment(file, name or f"attachment {number}", data, part, attached)


def _attachment(file: File, name: str, data: bytes, part: str, attached: Attached) -> Iterator[Extracted]:
    where = f"{file.path}/{part}/{name}" if part else f"{file.path}/{name}"
    yield from attached(File(path=where, data=data, warn=file.warn, depth=file.depth + 1))


def _message(
    subject: str, sender: str, to: Sequence[str], copies: Sequence[str], sent: str, text: str, *, part: str
) -> Extracted:
    """Who wrote to whom, when and about what, then the words; what is quoted of earlier messages is marked as such."""
    draft = Draft()
    head = [f"From: {sender}" if sender else "", f"To: {', '.join(to)}" if to else ""]
    head += [f"Cc: {', '.join(copies)}" if copies else "", f"Date: {_spoken(sent)}" if sent else ""]
    head += [f"Subject: {subject}" if subject else ""]
    draft.add("\n".join(filter(None, head)), metadata={"headers": True})
    context = ", ".join(filter(None, [f"mail from {_name(sender)}" if sender else "", _spoken(sent) if sent else ""]))
    for quoted, stretch in _stretches(text):
        draft.add(stretch, context="quoted from an earlier message" if quoted else context, metadata={"quoted": quoted})
    metadata: dict[str, Any] = {"from": sender, "to": list(to), "cc": list(copies), "subject": subject}
    metadata |= {"date": sent, "time": sent}
    return draft.finish(title=subject, metadata={name: one for name, one in metadata.items() if one}, part=part)


def _stretches(text: str) -> Iterator[tuple[bool, str]]:
    """(whether it is quoted, text) of what a message says itself and what it repeats of others, in order."""
    text = _SIGNATURE.sub("\n\n", text.replace("\r\n", "\n"), count=1)
    lines: list[str] = []
    now = False
    for paragraph in _INTRODUCES.sub(lambda found: f"\n\n> {found['line'].strip()}", text).split("\n"):
        quoted = bool(_QUOTE.match(paragraph))
        if quoted != now and paragraph.strip():
            yield now, _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()
            lines, now = [], quoted
        lines.append(_QUOTE.sub("", paragraph).lstrip() if quoted else paragraph)
    yield now, _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _text(body: MIMEPart) -> str:
    data = body.get_payload(decode=True)
    raw = data if isinstance(data, bytes) else b""
    text = decode(raw, declared=body.get_content_charset() or "") if raw.strip() else ""
    return _plain_html(text) if body.get_content_type() == "text/html" else text


def _plain_html(text: str) -> str:
    from memptm.documents.formats import html

    return html.read(text).text


def _header(message: EmailMessage, name: str) -> str:
    try:
        return str(message.get(name, "") or "")
    except Exception:  # the parser of headers raises all kinds of things on broken ones
        return ""


def _people(message: EmailMessage, name: str) -> list[str]:
    found = getaddresses([_header(message, name)])
    return [f"{one_line(who)} <{address}>" if who else address for who, address in found if who or address]


def _name(person: str) -> str:
    return person.split(" <")[0].strip("<>")


def _iso(written: str) -> str:
    try:
        return parsedate_to_datetime(written).replace(tzinfo=None).isoformat()
    except (TypeError, ValueError, IndexError):
        return ""


def _spoken(sent: str) -> str:
    from datetime import datetime

    moment = datetime.fromisoformat(sent)
    return f"{moment:%A}, {day(moment.date())}, {moment:%H:%M}"

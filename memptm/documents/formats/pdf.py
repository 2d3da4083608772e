"""PDF: the text layer of each page, columns one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ctypes import byref
from pathlib import Path

import pypdfium2
import pypdfium2.raw as pdfium

from memptm.documents.draft import Draft, Extracted
from memptm.documents.formats.layout import Run, in_reading_order
from memptm.documents.formats.running_heads import without_running_heads
from memptm.documents.refused import Refused

Warn = Callable[[str], None]

_HYPHENS = "\x02\ufffe\u00ad"  # how PDFium marks a hyphen at a line's end
_HYPHENATED = re.compile(rf"(?<=[^\W\d_])[-{_HYPHENS}]\n(?=[^\W\d_A-Z])")
_HYPHEN = re.compile(f"[{_HYPHENS}]")
_UNKNOWN = re.compile("[\0\ufffd\ue000-\uf8ff\U000f0000-\U0010ffff]")
_SENTENCE_END = re.compile(r"[.!?:。！？][\"'”’)\]]*$")
_MOST_NUMBERS = 20  # page numbers named in a warning


def read(path: Path, *, warn: Warn) -> Extracted:
    """Text of all pages; a block starts on each page. Title from the properties.

    ``metadata``: "pages", and "pages_without_text" where there are any.

    Raises:
        Refused: a password is needed, the file is broken, or no page has text.
    """
    try:
        file = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if pdfium.FPDF_GetLastError() == pdfium.FPDF_ERR_PASSWORD or "password" in str(error).lower():
            raise Refused(path, "needs a password") from None
        raise Refused(path, "broken PDF: it cannot be opened") from None
    try:
        return _read(file, path, warn)
    finally:
        file.close()


def _read(file: pypdfium2.PdfDocument, path: Path, warn: Warn) -> Extracted:
    found = [_page(file, index) for index in range(len(file))]
    texts = without_running_heads([text.strip() for text, _ in found])
    draft, before, unknown = Draft(), "", 0
    for number, text in enumerate(texts, start=1):
        unknown += len(_UNKNOWN.findall(text))
        ended = not before or bool(_SENTENCE_END.search(before))
        draft.add(text, page=number, joint="\n\n" if ended else "\n")
        before = text[-8:] or before
    silent = [number for number, text in enumerate(texts, start=1) if not text]
    unsure = [number for number, (text, sure) in enumerate(found, start=1) if text and not sure]
    pages = len(file)
    if len(silent) == pages:
        raise Refused(
            path, f"no text on its {pages} pages (scanned?)" if pages > 1 else "no text on its page (scanned?)"
        )
    if silent:
        warn(f"{path}: no text on {_numbers(silent)} of {pages} (scanned?)")
    if unsure:
        warn(
            f"{path}: the layout of {_numbers(unsure)} is uncertain (columns or a table?); check the order of the text"
        )
    if unknown:
        warn(f"{path}: {unknown} glyphs have no known letter; words with them cannot be found")
    metadata = {"pages": pages, **({"pages_without_text": silent} if silent else {})}
    return draft.finish(title=file.get_metadata_value("Title"), metadata=metadata)


def _numbers(pages: Sequence[int]) -> str:
    shown = ", ".join(map(str, pages[:_MOST_NUMBERS])) + (", …" if len(pages) > _MOST_NUMBERS else "")
    return f"page {shown}" if len(pages) == 1 else f"pages {shown}"


def _page(file: pypdfium2.PdfDocument, index: int) -> tuple[str, bool]:
    """(text in reading order, whether that order is sure)."""
    page = file[index]
    try:
        layer = page.get_textpage()
        try:
            runs = _runs(layer)
        finally:
            layer.close()
    finally:
        page.close()
    text, sure = in_reading_order(runs)
    return _HYPHEN.sub("-", _HYPHENATED.sub("", text)), sure


def _runs(layer: pypdfium2.PdfTextPage) -> list[Run]:
    """Letters that follow each other on a line without a wide gap, in the file's order."""
    runs: list[Run] = []
    letters: list[str] = []
    rectangle = pdfium.FS_RECTF()  # the loose one, of the font's height: all lines are equally high
    box: list[float] = []
    for n in range(layer.count_chars()):
        letter = chr(pdfium.FPDFText_GetUnicode(layer.raw, n))
        if letter in "\r\n":
            runs += _run(letters, box)
            letters, box = [], []
            continue
        pdfium.FPDFText_GetLooseCharBox(layer.raw, n, byref(rectangle))
        here = [rectangle.left, rectangle.bottom, rectangle.right, rectangle.top]
        empty = here[2] <= here[0] or letter.isspace() or letter in _HYPHENS
        if box and not empty:
            height = max(box[3] - box[1], here[3] - here[1])
            if here[0] - box[2] > 2 * height or here[2] < box[0] or here[1] > box[3] or here[3] < box[1]:
                runs += _run(letters, box)
                letters, box = [], []
        letters.append(letter)
        if not empty:
            ends = (min, min, max, max)
            box = [end(a, b) for end, a, b in zip(ends, box, here, strict=True)] if box else here
    return runs + _run(letters, box)


def _run(letters: list[str], box: list[float]) -> list[Run]:
    text = _joined_surrogates("".join(letters)).strip()
    return [Run(text=text, left=box[0], bottom=box[1], right=box[2], top=box[3])] if text and box else []


def _joined_surrogates(text: str) -> str:
    if not any("\ud800" <= letter <= "\udfff" for letter in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

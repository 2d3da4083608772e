"""PDF: the text layer of each page, columns one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ctypes import byref
from dataclasses import dataclass
from functools import cached_property
from unicodedata import bidirectional

import pypdfium2
import pypdfium2.raw as pdfium

from memptm.documents.draft import Draft, Extracted, one_line, property_title, title_of
from memptm.documents.file import File, Warn
from memptm.documents.formats import scans
from memptm.documents.formats.hyphens import MARKS, SOFT, joined, words_of
from memptm.documents.formats.layout import Part, in_reading_order, lines_of
from memptm.documents.formats.ruled_tables import with_tables
from memptm.documents.formats.running_heads import is_form, running_heads
from memptm.documents.formats.runs import Box, Run, upright
from memptm.documents.refused import Refused
from memptm.documents.tables import add_table

_HYPHENS = MARKS + SOFT
_UNKNOWN = re.compile("[\0\ufffd\ue000-\uf8ff\U000f0000-\U0010ffff]")
_PARTED_AT_END = re.compile(rf"[^\W\d_]+[-\u2010{_HYPHENS}]$")
_SENTENCE_END = re.compile(r"[.!?:。！？][\"'”’)\]]*$")
_PDF_DATE = re.compile(r"D?:?(\d{4})(\d\d)(\d\d)")
_MOST_BACKWARDS = 0.3  # share of letters that run from right to left, in a page whose order PDFium knows better
_MOST_DRAWN = 5_000  # things drawn on a page that are looked at
_MOST_NUMBERS = 20  # page numbers named in a warning


def read(file: File) -> Extracted:
    """Text of all pages; a block starts on each page. Title from the properties.

    ``metadata``: "pages", and "pages_without_text" where there are any.

    Raises:
        Refused: a password is needed, the file is broken, or no page has text.
    """
    path, warn = file.path, file.warn
    try:
        opened = pypdfium2.PdfDocument(file.data)
    except pypdfium2.PdfiumError as error:
        if pdfium.FPDF_GetLastError() == pdfium.FPDF_ERR_PASSWORD or "password" in str(error).lower():
            raise Refused(path, "needs a password") from None
        raise Refused(path, "broken PDF: it cannot be opened") from None
    try:
        return _read(opened, path, warn)
    finally:
        opened.close()


@dataclass(frozen=True, kw_only=True)
class _Page:
    """``plain``: its text as PDFium orders it, for scripts that run from right to left and for pages that were scanned."""

    lines: list[list[Run]]
    drawn: list[Box]
    height: float
    plain: str = ""
    scanned: bool = False


def _read(file: pypdfium2.PdfDocument, path: str, warn: Warn) -> Extracted:
    pages = [_page(file, index) for index in range(len(file))]
    lines = [page.lines for page in pages]
    dropped, heads = running_heads(lines, [page.height for page in pages])
    form = is_form(lines)
    draft = _Draft(lines)
    silent, unsure, scanned = [], [], []
    for number, (page, left_out) in enumerate(zip(pages, dropped, strict=True), start=1):
        runs = [run for n, line in enumerate(page.lines) if n not in left_out for run in line]
        parts, sure = (
            ([Part(text=page.plain)], True)
            if page.plain
            else in_reading_order(with_tables(runs, page.drawn), page.drawn)
        )
        draft.add_page(parts, number, whole=form)
        if page.scanned:
            scanned.append(number)
        if not runs and not page.plain:
            silent.append(number)
        elif not sure:
            unsure.append(number)
    if len(silent) == len(pages):
        raise Refused(
            path,
            f"no text on its {len(pages)} pages (scanned?)" if len(pages) > 1 else "no text on its page (scanned?)",
        )
    if silent:
        remedy = "" if scans.can_read() else "; install tesseract to have pictures read"
        warn(f"{path}: no text on {_numbers(silent)} of {len(pages)} (scanned?){remedy}")
    if scanned:
        warn(f"{path}: {_numbers(scanned)} of {len(pages)} read from pictures by tesseract; letters can be wrong")
    if unsure:
        warn(
            f"{path}: the layout of {_numbers(unsure)} is uncertain (columns or a table?); check the order of the text"
        )
    if draft.unknown:
        warn(f"{path}: {draft.unknown} glyphs have no known letter; words with them cannot be found")
    metadata = {
        "pages": len(pages),
        **({"pages_without_text": silent} if silent else {}),
        **({"pages_scanned": scanned} if scanned else {}),
        **({"left_out": heads} if heads else {}),
        **_properties(file),
    }
    return draft.finish().finish(title=_title(file, draft), metadata=metadata)


class _Draft:
    """Pages one after the other; a sentence may run on over the end of one."""

    def __init__(self, pages: Sequence[Sequence[Sequence[Run]]]) -> None:
        self.draft = Draft()
        self._pages = pages
        self.unknown = 0
        self.headings: list[tuple[float, str]] = []
        self._before = ""
        self._carried = ""  # the half of a word that a page's end parts; it goes to the page where the word ends

    def finish(self) -> Draft:
        self.draft.add(self._carried.strip(), joint=" ")
        return self.draft

    def add_page(self, parts: Sequence[Part], number: int, *, whole: bool) -> None:
        """``whole``: the page is a sheet of a form, and a passage of its own."""
        if whole:
            texts = [part.text if part.grid is None else _shown(part.grid) for part in parts]
            self.draft.add(self._whole("\n".join(texts)), kind="record", page=number)
            return
        for n, part in enumerate(parts):
            if part.grid is not None:
                add_table(self.draft, [[self._whole(cell) for cell in row] for row in part.grid], page=number)
                self._before = ""
                continue
            text = self._whole(self._carried + part.text).strip()
            self._carried = ""
            if n == len(parts) - 1 and (parted := _PARTED_AT_END.search(text)):
                text, self._carried = text[: parted.start()].rstrip(), f"{parted.group()}\n"
            self.unknown += len(_UNKNOWN.findall(text))
            if part.heading:
                self.headings.append((part.height, text))
                self.draft.add(one_line(text), kind="heading", level=self._level(part.height), page=number)
                self._before = ""
                continue
            runs_on = n == 0 and bool(self._before) and not _SENTENCE_END.search(self._before)
            self.draft.add(text, page=number, joint="\n" if runs_on else "\n\n")
            self._before = text[-8:] or self._before

    @cached_property
    def _known(self) -> frozenset[str]:
        return words_of("\n".join(" ".join(run.text for run in line) for page in self._pages for line in page))

    def _whole(self, text: str) -> str:
        return joined(text, lambda: self._known)

    def _level(self, height: float) -> int:
        """1 for the largest letters seen so far."""
        return 1 + len({round(other) for other, _ in self.headings if round(other) > round(height)})


def _shown(grid: Sequence[Sequence[str]]) -> str:
    return "\n".join(" ".join(filter(None, row)) for row in grid)


def _title(file: pypdfium2.PdfDocument, draft: _Draft) -> str:
    """The title in the file's properties, unless a program put it there; else the largest heading of the first ones."""
    named = property_title(str(file.get_metadata_value("Title")))
    return named or title_of([(-round(height), words) for height, words in draft.headings])


def _properties(file: pypdfium2.PdfDocument) -> dict[str, str]:
    author = one_line(str(file.get_metadata_value("Author")))
    dated = _PDF_DATE.match(str(file.get_metadata_value("ModDate") or file.get_metadata_value("CreationDate")))
    modified = "-".join(dated.groups()) if dated else ""
    return {name: value for name, value in (("author", author), ("modified", modified)) if value}


def _numbers(pages: Sequence[int]) -> str:
    shown = ", ".join(map(str, pages[:_MOST_NUMBERS])) + (", …" if len(pages) > _MOST_NUMBERS else "")
    return f"page {shown}" if len(pages) == 1 else f"pages {shown}"


def _page(file: pypdfium2.PdfDocument, index: int) -> _Page:
    page = file[index]
    try:
        layer = page.get_textpage()
        try:
            drawn = [Box(left=left, bottom=bottom, right=right, top=top) for left, bottom, right, top in _drawn(page)]
            runs = _runs(layer, upright(drawn))
            letters = [letter for run in runs for letter in run.text if letter.isalpha()]
            backwards = sum(bidirectional(letter) in ("R", "AL") for letter in letters) > _MOST_BACKWARDS * len(letters)
            plain = layer.get_text_range().replace("\r\n", "\n").strip() if backwards and letters else ""
        finally:
            layer.close()
        scanned = not runs and scans.can_read()
        return _Page(
            lines=lines_of(runs),
            drawn=drawn,
            height=page.get_height(),
            plain=scans.read(page) if scanned else plain,
            scanned=scanned,
        )
    finally:
        page.close()


def _drawn(page: pypdfium2.PdfPage) -> Iterator[tuple[float, float, float, float]]:
    for number, thing in enumerate(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_PATH], max_depth=2)):
        if number >= _MOST_DRAWN:
            return
        yield thing.get_bounds()


def _runs(layer: pypdfium2.PdfTextPage, rules: Sequence[Box]) -> list[Run]:
    """Letters that follow each other on a line without a wide gap or one of the upright ``rules``, in the file's order."""
    runs: list[Run] = []
    letters: list[str] = []
    rectangle = pdfium.FS_RECTF()  # the loose one, of the font's height: all lines are equally high
    reference, raw = byref(rectangle), layer.raw
    character, loose_box = pdfium.FPDFText_GetUnicode, pdfium.FPDFText_GetLooseCharBox
    left = bottom = right = top = 0.0  # of the letters so far
    boxed = False
    for n in range(layer.count_chars()):
        letter = chr(character(raw, n))
        if letter in "\r\n":
            runs += _run(letters, left, bottom, right, top) if boxed else ()
            letters, boxed = [], False
            continue
        loose_box(raw, n, reference)
        x, y, end, high = rectangle.left, rectangle.bottom, rectangle.right, rectangle.top
        if end <= x or letter.isspace() or letter in _HYPHENS:
            letters.append(letter)
            continue
        if boxed:
            height = max(top - bottom, high - y)
            apart = x - right > 2 * height or end < left or y > top or high < bottom
            if apart or (rules and x > right and _is_between(rules, right, x, y + height / 2)):
                runs += _run(letters, left, bottom, right, top)
                letters, boxed = [], False
        letters.append(letter)
        if boxed:
            left, bottom = (x if x < left else left), (y if y < bottom else bottom)
            right, top = (end if end > right else right), (high if high > top else top)
        else:
            left, bottom, right, top, boxed = x, y, end, high, True
    return runs + (_run(letters, left, bottom, right, top) if boxed else [])


def _is_between(rules: Sequence[Box], left: float, right: float, height: float) -> bool:
    """Whether one of the rules stands between two letters."""
    return any(left - 1 <= rule.left <= right + 1 and rule.bottom < height < rule.top for rule in rules)


def _run(letters: list[str], left: float, bottom: float, right: float, top: float) -> list[Run]:
    text = _joined_surrogates("".join(letters)).strip()
    return [Run(text=text, left=left, bottom=bottom, right=right, top=top)] if text else []


def _joined_surrogates(text: str) -> str:
    if not any("\ud800" <= letter <= "\udfff" for letter in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

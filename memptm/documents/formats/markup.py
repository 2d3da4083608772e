"""LaTeX, reStructuredText and Org: their headings, tables and paragraphs, without the marks."""

from __future__ import annotations

import re

from memptm.documents.draft import Draft, Extracted, one_line
from memptm.documents.tables import add_table

_SECTION = re.compile(
    r"\\(?P<kind>part|chapter|section|subsection|subsubsection|paragraph)\*?(?:\[[^\]]*\])?\{(?P<title>(?:[^{}]|\{[^{}]*\})*)\}"
)
_LEVELS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5}
_TABULAR = re.compile(
    r"\\begin\{(tabular[x*]?|longtable)\}(?:\[[^\]]*\])?(?:\{[^{}]*\})*(?P<body>.*?)\\end\{\1\}", re.DOTALL
)
_RULE = re.compile(r"\\(?:hline|toprule|midrule|bottomrule|cmidrule(?:\([^)]*\))?\{[^}]*\}|cline\{[^}]*\})")
_TITLE = re.compile(r"\\title\{((?:[^{}]|\{[^{}]*\})*)\}")
_COMMENT = re.compile(r"(?<!\\)%.*")
_ORG_HEADING = re.compile(
    r"^(\*+)[ \t]+(?:(?:TODO|DONE|NEXT|WAITING)[ \t]+)?(?:\[#.\][ \t]+)?(.*?)(?:[ \t]+(:[\w@:]+:))?[ \t]*$"
)
_ORG_TITLE = re.compile(r"^#\+title:[ \t]*(.+)$", re.IGNORECASE | re.MULTILINE)
_ORG_LINK = re.compile(r"\[\[([^\]]+)\](?:\[([^\]]+)\])?\]")
_ORG_MARK = re.compile(r"(?<![\w*/=~+])([*/=~+])(\S(?:[^\n]*?\S)?)\1(?![\w*/=~+])")


def read_latex(text: str) -> Extracted:
    """Commands by what they print (pylatexenc); the preamble and comments are left out."""
    from pylatexenc.latex2text import LatexNodes2Text

    converter = LatexNodes2Text(math_mode="verbatim", keep_comments=False, strict_latex_spaces=False)
    named = _TITLE.search(text)
    body = text.split("\\begin{document}", 1)[-1].split("\\end{document}", 1)[0]
    body = "\n".join(_COMMENT.sub("", line) for line in body.split("\n"))
    draft = Draft()

    def add(stretch: str) -> None:
        at = 0
        for found in _TABULAR.finditer(stretch):
            _paragraphs(draft, converter.latex_to_text(stretch[at : found.start()]))
            lines = [line for line in _RULE.sub("", found["body"]).split("\\\\") if line.strip()]
            add_table(draft, [[one_line(converter.latex_to_text(cell)) for cell in line.split("&")] for line in lines])
            at = found.end()
        _paragraphs(draft, converter.latex_to_text(stretch[at:]))

    at = 0
    for found in _SECTION.finditer(body):
        add(body[at : found.start()])
        title = one_line(converter.latex_to_text(found["title"]))
        draft.add(title, kind="heading", level=_LEVELS[found["kind"]])
        at = found.end()
    add(body[at:])
    return draft.finish(title=one_line(converter.latex_to_text(named[1])) if named else "")


def read_rst(text: str) -> Extracted:
    """By docutils, without what reads other files or runs code."""
    from docutils.core import publish_parts

    from memptm.documents.formats import html

    settings = {
        "report_level": 5,
        "halt_level": 5,
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "_disable_config": True,
        "embed_stylesheet": False,
        "warning_stream": False,
        "doctitle_xform": False,
    }
    parts = publish_parts(text, writer="html5", settings_overrides=settings)
    return html.read(f"<main>{parts['body']}</main>")


def read_org(text: str) -> Extracted:
    """Headings by their stars, tables as records; keywords, drawers and planning lines are left out."""
    draft = Draft()
    named = _ORG_TITLE.search(text)
    paragraph: list[str] = []
    rows: list[list[str]] = []
    fence: list[str] | None = None
    drawer = False

    def flush() -> None:
        draft.add("\n".join(paragraph))
        add_table(draft, rows)
        paragraph.clear()
        rows.clear()

    for line in text.splitlines():
        bare = line.strip()
        lower = bare.lower()
        if fence is not None:
            if lower.startswith("#+end_"):
                draft.add("\n".join(fence), kind="code")
                fence = None
            else:
                fence.append(line)
        elif lower.startswith("#+begin_"):
            flush()
            fence = []
        elif drawer or re.fullmatch(r":[\w-]+:", bare):
            drawer = lower != ":end:"
        elif heading := _ORG_HEADING.match(line):
            flush()
            draft.add(_org_plain(heading[2]), kind="heading", level=len(heading[1]))
        elif bare.startswith("|"):
            if not bare.startswith("|-"):
                rows.append([_org_plain(cell.strip()) for cell in bare.strip("|").split("|")])
        elif not bare:
            flush()
        elif not lower.startswith(("#+", "# ")):
            if rows:
                flush()
            paragraph.append(_org_plain(line.rstrip()))
    flush()
    return draft.finish(title=named[1].strip() if named else "")


def _org_plain(line: str) -> str:
    return _ORG_MARK.sub(r"\2", _ORG_LINK.sub(lambda found: found[2] or found[1], line))


def _paragraphs(draft: Draft, text: str) -> None:
    for paragraph in re.split(r"\n\s*\n", text):
        draft.add("\n".join(line.strip() for line in paragraph.strip().splitlines() if line.strip()))

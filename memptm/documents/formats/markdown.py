"""Markdown: headings, fences and tables, found by line; all but tables stays as it stands in the file."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate

from markdown_it import MarkdownIt
from markdown_it.token import Token

from memptm.documents.draft import Draft, Extracted, one_line, title_of
from memptm.documents.formats import front_matter
from memptm.documents.tables import add_table
from memptm.types import Block

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$")  # as CommonMark counts lines
_MARKS = re.compile(r"[\\`*_\[\]<>&!\n]")  # without one of these a line is as it reads
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def read(text: str) -> Extracted:
    """Front matter becomes metadata, a table records, all else stays; title from front matter, else the first heading."""
    begin, fields = front_matter.read(text)
    blocks = [Block(start=0, end=begin, kind="omitted")] if begin else []
    offsets = list(accumulate((len(line) for line in _LINE.findall(text, begin)), initial=begin))
    headings: list[tuple[int, str]] = []
    at = 0  # line up to which blocks are known
    tokens = _blocks_parser().parse(text[begin:])
    tables: list[list[list[str]]] = []
    for n, token in enumerate(tokens):
        kind = _kind(token)
        if not kind or token.map is None or token.map[0] < at:
            continue
        at = token.map[1]
        start, end = (offsets[min(line, len(offsets) - 1)] for line in token.map)
        context = ""
        if kind == "heading":
            context = _plain(tokens[n + 1].content)
            headings.append((int(token.tag[1:]), context))
        elif kind == "table":
            tables.append([[_plain(cell) for cell in row] for row in _rows(tokens, n)])
        elif kind == "comment":
            kind = "omitted"
            if _COMMENT.sub("", text[start:end]).strip():
                continue
        blocks.append(
            Block(
                start=start, end=end, kind=kind, level=int(token.tag[1:] if kind == "heading" else 0), context=context
            )
        )
    named = one_line(str(fields.get("title") or "")) or title_of(headings)
    metadata = {name: value for name, value in fields.items() if name != "title"}
    if tables:
        return _with_records(text, blocks, tables).finish(title=named, metadata=metadata)
    return Extracted(text=text, title=named, blocks=tuple(blocks), metadata=metadata)


def _with_records(text: str, blocks: list[Block], tables: list[list[list[str]]]) -> Draft:
    """The text with its tables written out as records."""
    draft = Draft()
    at = 0
    remaining = iter(tables)
    for block in (*blocks, Block(start=len(text), end=len(text))):
        draft.add(text[at : block.start].strip("\r\n"))
        at = block.end
        if block.kind == "table":
            add_table(draft, next(remaining), header_rows=1)
        elif block.kind != "omitted":
            words = text[block.start : block.end].strip("\r\n")
            draft.add(words, kind=block.kind, level=block.level, context=block.context)
    return draft


def _rows(tokens: list[Token], start: int) -> list[list[str]]:
    """The cells of the table whose first token is at ``start``."""
    rows: list[list[str]] = []
    for token in tokens[start:]:
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows:
            rows[-1].append(token.content)
    return rows


def _kind(token: Token) -> str:
    if token.type in ("fence", "code_block"):
        return "code"
    if token.type == "html_block" and token.content.lstrip().startswith("<!--"):
        return "comment"
    if token.level == 0 and token.type in ("heading_open", "table_open"):
        return token.type.removesuffix("_open")
    return ""


@lru_cache(maxsize=1)
def _blocks_parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable("table").disable(["inline"])


@lru_cache(maxsize=1)
def _inline_parser() -> MarkdownIt:
    return MarkdownIt("commonmark")


def _plain(source: str) -> str:
    """A heading or a cell as it reads, without marks."""
    if not _MARKS.search(source):
        return one_line(source)
    inline = _inline_parser()
    children = [child for token in inline.parseInline(source) for child in token.children or []]
    return one_line(
        "".join(child.content if child.content else " " if "break" in child.type else "" for child in children)
    )

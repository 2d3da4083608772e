"""Hypothesis generators that several tests share."""

from __future__ import annotations

from hypothesis import strategies as st

from memptm.types import Block, Document

WORDS = [
    "echo",
    "Dr.",
    "7,340",
    "naïve",
    "the",
    "U.S.",
    "end.",
    "Really?",
    "«oui»",
    "x" * 130,
    "e\u0301te\u0301",
    "word,",
]
UNBROKEN = ["他去了北京。", "東京", "ですか？", "ภาษาไทย", "是的；", "对…"]
PICTURES = ["🙂", "👨‍👩‍👧‍👦", "🇩🇪", "🇫🇷🇯🇵", "👍🏽", "❤️"]
BLANKS = [" ", "  ", "\n", "\r\n", "\r", "\n\n", "\t", "\u00a0", ""]

prose = st.lists(
    st.tuples(st.sampled_from([*WORDS, *UNBROKEN, *PICTURES]), st.sampled_from(BLANKS)), min_size=1, max_size=80
).map(lambda pairs: "".join(word + blank for word, blank in pairs))


@st.composite
def sizes(draw: st.DrawFn) -> dict[str, int]:
    """words and overlap that go together."""
    words = draw(st.integers(1, 40))
    return {"words": words, "overlap": draw(st.integers(0, words - 1))}


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Documents with blocks of all kinds; some text lies between blocks."""
    text, blocks = "", []
    for kind in draw(st.lists(st.sampled_from(["heading", "text", "table", "code", "turn", "gap"]), max_size=8)):
        words = draw(prose) if kind not in ("heading", "turn") else " ".join(draw(prose).split())[:60]
        start, text = len(text), text + words
        if kind != "gap" and words:
            context = "Item | Price" if kind == "table" else ""
            level = draw(st.integers(1, 3)) if kind == "heading" else 0
            blocks.append(
                Block(
                    start=start,
                    end=len(text),
                    kind=kind,
                    level=level,
                    context=context,
                    id=f"t{len(blocks)}" if kind == "turn" else "",
                )
            )
        text += "\n\n"
    return Document(id="d", title="A title", text=text, blocks=tuple(blocks))

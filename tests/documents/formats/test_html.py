"""HTML: what a reader of the page reads, in that order."""

from __future__ import annotations

import time

import pytest

from memptm.documents.load import load
from memptm.documents.split import split


def read(tmp_path, page):
    (tmp_path / "page.html").write_bytes(page if isinstance(page, bytes) else page.encode())
    (document,) = load(tmp_path / "page.html", warn=pytest.fail)
    joined = "".join(document.text[block.start : block.end] for block in document.blocks)
    assert "".join(joined.split()) == "".join(document.text.split())
    return document


def test_scripts_styles_and_menus_are_left_out(tmp_path):
    page = (
        "<html><head><title>Karst\n bridge</title><style>p{color:red}</style></head><body><nav>Home</nav>"
        "<header>Shop <h1>Karst bridge</h1></header><p>It carries\n the <b>rail</b>way.<br>Since 1901.</p>"
        "<p hidden>no</p><!-- no --><script>alert('x')</script><footer>Imprint</footer></body></html>"
    )
    document = read(tmp_path, page)
    assert document.title == "Karst bridge"
    assert document.text == "Shop\n\nKarst bridge\n\nIt carries the railway.\nSince 1901."


def test_a_page_of_nothing_but_furniture_keeps_it(tmp_path):
    assert read(tmp_path, "<body><nav><a>One</a> <a>Two</a></nav></body>").text == "One Two"


def test_headings_open_sections_and_code_keeps_its_blanks(tmp_path):
    page = "<h1>A</h1><p>one</p><h2>B <i>b</i></h2><pre>  if x:\n\tgo()\n</pre><ul><li>two<li>three</ul>"
    passages = split(read(tmp_path, page))
    assert [(passage.headings, passage.text) for passage in passages] == [
        (("A",), "A\n\none"),
        (("A", "B b"), "B b\n\n  if x:\n\tgo()\n\ntwo\n\nthree"),
    ]


def test_a_tables_rows_are_records_that_name_its_columns(tmp_path):
    rows = "".join(f"<tr><td>Item {n}</td><td>{n},000</td></tr>" for n in range(60))
    document = read(tmp_path, f"<table><tr><th>Item</th><th>Price</th></tr>{rows}</table>")
    passages = split(document, words=40)
    assert [passage.text for passage in passages] == [f"Item: Item {n}; Price: {n},000" for n in range(60)]


def test_spanning_cells_are_filled(tmp_path):
    document = read(
        tmp_path,
        "<table><thead><tr><th>Class</th><th>Boat</th><th>Time</th></tr></thead><tr><td rowspan=2>Open</td><td>Wren</td>"
        "<td>2:41</td></tr><tr><td>Teal</td><td>2:47</td></tr><tr><td>Junior</td><td colspan=2>none came</td></tr></table>",
    )
    assert document.text.split("\n") == [
        "Class: Open; Boat: Wren; Time: 2:41",
        "Class: Open; Boat: Teal; Time: 2:47",
        "Class: Junior; Boat: none came; Time: none came",
    ]


@pytest.mark.parametrize(
    "banner",
    [
        "<div id='cookie-banner'>Accept all cookies</div>",
        "<div role='dialog' aria-modal='true'>Accept all cookies</div>",
        "<div role='navigation'>Accept all cookies</div>",
        "<div style='DISPLAY:none'>Accept all cookies</div>",
        "<style>.gone, .x { display: none }</style><p class='big gone'>Accept all cookies</p>",
    ],
)
def test_what_a_reader_does_not_come_for_is_left_out(tmp_path, banner):
    document = read(tmp_path, f"<body>{banner}<main><p>The shop opens at nine.</p></main></body>")
    assert document.text == "The shop opens at nine."


def test_a_page_about_cookies_keeps_its_words(tmp_path):
    words = "A cookie is a small biscuit. " * 80
    assert "small biscuit" in read(tmp_path, f"<article class='cookie-recipes'><p>{words}</p></article>").text


def test_a_table_in_a_table_is_read_once_in_order(tmp_path):  # F08
    inner = "<table><tr><td>inner 42</td></tr></table>"
    document = read(tmp_path, f"<table><tr><td>outer{inner}after</td></tr></table>")
    assert document.text.split() == ["outer", "inner", "42", "after"]


@pytest.mark.parametrize(
    "page", ["<table><tr><td>outer<table><tr><td>inner 42 " + "x" * 20_000, "<table><tr><td>a " * 2_000]
)
def test_wide_and_deep_tables_take_no_time(tmp_path, page):  # F08
    began = time.process_time()
    read(tmp_path, page)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("declared", ['<meta charset="koi8-r">', '<?xml version="1.0" encoding="koi8-r"?>'])
def test_the_declared_encoding_is_believed(tmp_path, declared):
    page = f"<html>{declared}<p>Маяк</p></html>"
    assert read(tmp_path, page.encode("koi8-r")).text == "Маяк"

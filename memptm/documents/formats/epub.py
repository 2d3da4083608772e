"""EPUB: the chapters in the order of the book's spine, each read as HTML."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import fromstring

from memptm.documents.archives import checked
from memptm.documents.decode import decode
from memptm.documents.draft import Draft, Extracted
from memptm.documents.file import File
from memptm.documents.formats import html
from memptm.documents.refused import Refused

_CONTAINER = "META-INF/container.xml"
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"


def read(file: File) -> Iterator[Extracted]:
    """One document with the book's title, author, date and language; the table of contents is left out.

    Raises:
        Refused: chapters are encrypted, or there is no package in it.
    """
    with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
        checked(archive, file.path)
        names = set(archive.namelist())
        if "META-INF/encryption.xml" in names and b"Adept" in archive.read("META-INF/encryption.xml"):
            raise Refused(file.path, "a book with copy protection; it cannot be read")
        package_path = _package(archive)
        if package_path is None or package_path not in names:
            raise Refused(file.path, "a broken EPUB: it does not say where its text is")
        package = fromstring(archive.read(package_path))
        draft = Draft()
        missing = []
        for name in _spine(package, posixpath.dirname(package_path)):
            if name not in names:
                missing.append(name)
                continue
            data = archive.read(name)
            html.read_into(draft, decode(data, declared=html.declared_encoding(data)))
        if missing:
            file.warn(f"{file.path}: chapters named but not there: {', '.join(missing[:5])}")
        said = {name: _said(package, name) for name in ("title", "creator", "date", "language", "publisher")}
    metadata = {
        "author" if name == "creator" else name: words for name, words in said.items() if words and name != "title"
    }
    yield draft.finish(title=said["title"], metadata=metadata)


def _package(archive: zipfile.ZipFile) -> str | None:
    try:
        container = fromstring(archive.read(_CONTAINER))
    except KeyError:
        return None
    root = next((one for one in container.iter() if one.tag.endswith("}rootfile")), None)
    return None if root is None else root.get("full-path")


def _spine(package: Element, folder: str) -> Iterator[str]:
    """Paths of the chapters, in order, without the page that only navigates."""
    items = {item.get("id"): item for item in package.iter() if item.tag.endswith("}item")}
    for reference in package.iter():
        item = items.get(reference.get("idref")) if reference.tag.endswith("}itemref") else None
        if item is not None and "nav" not in (item.get("properties") or "").split():
            yield posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))


def _said(package: Element, name: str) -> str:
    found = next(package.iter(f"{_DUBLIN_CORE}{name}"), None)
    return " ".join("".join(found.itertext()).split()) if found is not None else ""

"""Packages of extras that more than one part needs."""

from __future__ import annotations

from typing import Any

from memptm.errors import ExtraMissing


def faiss_module() -> Any:
    """FAISS, loaded when first asked for.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ExtraMissing(
            'FAISS is not installed. Get it with: pip install "memptm[cpu]" (or "memptm[gpu]")'
        ) from error
    return faiss

"""memptm gives a pre-trained language model a memory: long-term, working, and reasoning over both."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memptm.errors import MemptmError
    from memptm.generation.generator import Generator
    from memptm.generation.reader import Reader
    from memptm.memory.conversation import Conversation
    from memptm.memory.memory import Memory
    from memptm.pipeline import QA
    from memptm.session import Session
    from memptm.types import Answer, Document, Evidence, Hit, Passage

# Public name → module; imported on first use, so that `import memptm` loads no torch, faiss or lancedb.
_MODULES = {
    "Answer": "memptm.types",
    "Conversation": "memptm.memory.conversation",
    "Document": "memptm.types",
    "Evidence": "memptm.types",
    "Generator": "memptm.generation.generator",
    "Hit": "memptm.types",
    "Memory": "memptm.memory.memory",
    "MemptmError": "memptm.errors",
    "Passage": "memptm.types",
    "QA": "memptm.pipeline",
    "Reader": "memptm.generation.reader",
    "Session": "memptm.session",
}
__all__ = [
    "QA",
    "Answer",
    "Conversation",
    "Document",
    "Evidence",
    "Generator",
    "Hit",
    "Memory",
    "MemptmError",
    "Passage",
    "Reader",
    "Session",
    "__version__",
]
__version__ = version("memptm")

# GNU's OpenMP, which torch brings, lets a thread spin some 100 ms for the others. Where another program wants the
# processor too, that made two builds at once take seven times as long as one; this short a spin costs nothing alone.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'memptm' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

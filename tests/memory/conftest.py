import sys
from pathlib import Path

import pytest

from memptm import Document, Memory

sys.path.insert(0, str(Path(__file__).parent))  # tests and the processes they start say: from toy import Toy

from toy import Toy


@pytest.fixture
def toy():
    return Toy()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def memory(path, toy):
    return Memory.open(path, create=True, encoder=toy)


@pytest.fixture
def texts():
    """Texts of documents without id or source, as Documents."""
    return lambda *texts: [Document(text=text) for text in texts]


@pytest.fixture
def found():
    """The texts of a search's hits, in all three modes or in one."""

    def find(memory, question, **options):
        return [hit.passage.text for hit in memory.search(question, **options)]

    return find


@pytest.fixture
def reopened(path, toy):
    return lambda: Memory.open(path, encoder=toy)

"""What a command loads: counting, looking up words and an error of the user need no models."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "sentence_transformers", "faiss", "lancedb", "torch._dynamo", "pyarrow")
QUESTION = "Who built the lighthouse?"


def loaded(*arguments):
    """Exit code, what went to standard error, and which of HEAVY the command had imported at its end."""
    code = (
        "import sys\nfrom memptm.cli import main\n"
        f"try: main({list(map(str, arguments))!r}, prog_name='memptm')\n"
        f"finally: print(*[one for one in {HEAVY!r} if one in sys.modules], sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    lines = done.stderr.splitlines()
    return (
        done.returncode,
        "\n".join(line for line in lines if line not in HEAVY),
        {one for one in lines if one in HEAVY},
    )


def test_a_question_loads_no_compiler_and_no_transformers(index):
    code, _, modules = loaded("query", QUESTION, "--index", index)
    assert code == 0
    assert {"torch", "lancedb"} <= modules
    assert modules.isdisjoint({"torch._dynamo", "transformers", "sentence_transformers"})


@pytest.mark.parametrize("name", ["CreateTableRequest", "ListTablesResponse"])
def test_what_lancedb_knows_of_its_catalogues_client_works_when_it_is_used(name):
    code = f"""
from memptm.memory.lance import lancedb_module
import sys
lancedb_module()
assert not [one for one in sys.modules if one.startswith("lance_namespace_urllib3_client")]
import lance_namespace
deferred = getattr(lance_namespace, {name!r})
import lance_namespace_urllib3_client as client
real = getattr(client.models, {name!r})
made = deferred.model_construct()
assert type(made) is real and isinstance(made, deferred) and not isinstance(5, deferred)
assert client.TableApi.__module__.startswith("lance_namespace_urllib3_client.api")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

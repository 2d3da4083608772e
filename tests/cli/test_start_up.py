"""What a command loads: counting, looking up words and an error of the user need no models."""

import json
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


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_info_loads_no_model_and_no_keys(index, options):
    code, said, modules = loaded("info", "--index", index, *options)
    assert (code, said) == (0, "")
    assert modules <= {"lancedb", "pyarrow"}


@pytest.mark.parametrize("more", [(), ("--where", "kind = 'fern'"), ("-k", "50", "--json")])
def test_a_search_by_words_loads_no_model_and_no_keys(index, more):
    code, said, modules = loaded("search", QUESTION, "--index", index, "--mode", "lexical", *more)
    assert (code, said) == (0, "")
    assert modules <= {"lancedb", "pyarrow"}


@pytest.mark.parametrize(
    "command",
    [
        ("query", QUESTION, "--reader", "no/reader"),
        ("query", QUESTION, "--method", "generate", "--generator", "./no-generator"),
        ("query", QUESTION, "--method", "rag-token", "--reader", "no/reader"),
        ("query", QUESTION, "--encoder", "./no-encoder"),
        ("query", QUESTION, "--method", "no-method"),
        ("query", " "),
        ("search", QUESTION, "--encoder", "./no-encoder"),
        ("search", QUESTION, "--where", "kind ="),
        ("search", QUESTION, "-k", "0"),
        ("chat", "--reader", "no/reader"),
    ],
)
def test_an_error_of_the_user_is_told_before_anything_is_loaded(index, command):
    name, *arguments = command
    code, said, modules = loaded(name, *arguments, "--index", index)
    assert code == 2
    assert said.startswith("Error: ")
    assert len(said.splitlines()) == 1
    assert modules <= {"pyarrow"}


def test_no_index_is_told_before_anything_is_loaded(tmp_path):
    for command in (["info"], ["search", QUESTION], ["query", QUESTION], ["verify"], ["remove", "--id", "x"]):
        code, said, modules = loaded(*command, "--index", tmp_path / "no-index")
        assert (code, modules - {"pyarrow"}) == (2, set())
        assert said.startswith("Error: No index at")


def test_the_time_of_a_search_is_its_own_and_that_of_loading_stands_apart(index, spawn_memptm):
    timed = {}
    for mode in ("lexical", "hybrid"):
        result = json.loads(spawn_memptm("search", QUESTION, "--index", index, "--mode", mode, "--json").stdout)
        timed[mode] = result["ms"], result["load_ms"]
        assert all(value > 0 for value in timed[mode])
    assert timed["hybrid"][0] < timed["hybrid"][1]  # torch alone takes a second, a question some 10 ms


@pytest.mark.parametrize(
    ("line", "code", "said"), [(["--version"], 0, "memptm"), (["query", "", "--index", "x"], 2, "Error: ")]
)
def test_the_process_ends_with_the_commands_code_and_all_that_was_said(line, code, said):
    program = (
        "import atexit, sys\nfrom memptm.__main__ import run\n"
        f"atexit.register(lambda: print('registered', flush=True))\nsys.argv = ['memptm', *{line!r}]\nrun()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert done.stdout.endswith("registered\n")

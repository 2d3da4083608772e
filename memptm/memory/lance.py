"""LanceDB, imported without its client of remote catalogues, which takes three times as long as LanceDB itself."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

CLIENT = "lance_namespace_urllib3_client"  # some hundred pydantic models and the calls that take them


def lancedb_module() -> Any:
    """LanceDB. The names of its client's classes stand in it for the classes, which are imported at their first use."""
    if "lancedb" in sys.modules or CLIENT in sys.modules:
        return import_module("lancedb")
    finder = _Deferring()
    sys.meta_path.insert(0, finder)
    try:
        return import_module("lancedb")
    finally:
        sys.meta_path.remove(finder)
        for name in [one for one in sys.modules if one == CLIENT or one.startswith(f"{CLIENT}.")]:
            del sys.modules[name]  # whoever imports it gets the real one


class _Deferring(MetaPathFinder, Loader):
    """Answers for every module of the client, with one in which each name is a ``_Deferred`` class."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        if name != CLIENT and not name.startswith(f"{CLIENT}."):
            return None
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:  # noqa: ARG002
        return None

    def exec_module(self, module: ModuleType) -> None:
        def named(name: str) -> _Deferred:
            if name.startswith("__"):
                raise AttributeError(name)
            return _Deferred(name, (), {"__module__": module.__name__})

        module.__getattr__ = named  # type: ignore[method-assign]


class _Deferred(type):
    """A class that is imported when it is called, asked for an attribute, or asked whether something is of it."""

    def _real(cls) -> Any:
        return getattr(import_module(cls.__module__), cls.__name__)

    def __call__(cls, *args: Any, **options: Any) -> Any:
        return cls._real()(*args, **options)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # what typing and inspect ask of any object
            raise AttributeError(name)
        return getattr(cls._real(), name)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls._real())

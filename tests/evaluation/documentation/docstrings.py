"""The docstrings of Python's standard library as documents, read from the running Python: nothing of it is copied."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterator
from types import ModuleType

from tests.evaluation.documentation.document import Document

MODULES = """
    argparse ast asyncio.locks asyncio.queues asyncio.runners asyncio.streams asyncio.taskgroups asyncio.tasks
    asyncio.timeouts base64 bisect builtins calendar collections concurrent.futures configparser contextlib copy csv
    dataclasses datetime decimal difflib email.utils enum filecmp fileinput fnmatch fractions functools gc getpass
    gettext glob graphlib gzip hashlib heapq hmac html http.client http.cookies http.server inspect io ipaddress
    itertools json linecache locale logging logging.handlers math mimetypes operator os os.path pathlib pickle pprint
    queue random re sched secrets selectors shelve shlex shutil signal socket socketserver sqlite3 ssl statistics string
    struct subprocess sys tarfile tempfile textwrap threading time timeit tomllib traceback types typing unicodedata
    unittest urllib.parse urllib.request urllib.robotparser uuid warnings weakref webbrowser xml.etree.ElementTree
    zipfile zlib zoneinfo
"""
MIN_CHARACTERS = 80
"""Shorter docstrings say little more than the name."""


def docstring_documents() -> Iterator[Document]:
    """One for each module, class, function, method and property, by its dotted name; of equal texts the first."""
    seen: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated names are documented too
        for module_name in MODULES.split():
            for name, thing in _documented(module_name, importlib.import_module(module_name)):
                text = inspect.getdoc(thing) if isinstance(getattr(thing, "__doc__", None), str) else None
                if text and len(text) >= MIN_CHARACTERS and text not in seen:
                    seen.add(text)
                    yield Document(name, name, text, "standard_library")


def _documented(module_name: str, module: ModuleType) -> Iterator[tuple[str, object]]:
    yield module_name, module
    for name in getattr(module, "__all__", None) or vars(module):
        thing = getattr(module, name, None)
        if name.startswith("_") or inspect.ismodule(thing) or not _belongs(thing, module):
            continue
        if inspect.isclass(thing):
            yield f"{module_name}.{name}", thing
            for member_name, member in vars(thing).items():
                function = getattr(member, "__func__", member)
                if not member_name.startswith("_") and (inspect.isroutine(function) or isinstance(function, property)):
                    yield f"{module_name}.{name}.{member_name}", function
        elif inspect.isroutine(thing):
            yield f"{module_name}.{name}", thing


def _belongs(thing: object, module: ModuleType) -> bool:
    """Whether the module exports it or, where it does not say what it exports, has not imported it from elsewhere."""
    home = getattr(thing, "__module__", None)
    return hasattr(module, "__all__") or home in {None, module.__name__, f"_{module.__name__}"}

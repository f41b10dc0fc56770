"""Tools and rewards go along as text that stands alone, or the reason why they cannot is told."""

import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anypod.dspy.push.find import MODULE, NotFound, find
from anypod.dspy.push.refusals import Refusals
from anypod.dspy.push.sources import defined, source_of

HEAD = """
import math
import math as m
import os
import re
import xml.etree.ElementTree
from collections import OrderedDict as Ordered
from datetime import datetime
from os.path import join
from typing import Literal, Optional

import dspy
import beside
from beside import helper

FEW = 3
NAMES = {"a": [1, 2.5, None, (True, b"x")]}
WORDS = re.compile("a+")
API_KEY = "abc"
PROVIDER = "sk-0123456789abcdef"
CONFIG = {"hosts": ["a"], "api_key": "abc"}
ACCESS_TOKEN = b"abc"
BYTES = [{b"sk-0123456789abcdef"}]
CUSTOMERS = {"sk-0123456789abcdef": "Ada"}
MAX_TOKENS = 7
count = 0
program = dspy.Predict("q -> a")

class Order:
    pass

def other(x):
    return x
"""


@pytest.fixture
def pushed(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Writes a file with a function below the usual head, and imports it."""
    (tmp_path / "beside.py").write_text("def helper(x):\n    return x\n")
    before = list(sys.path)

    def write(code: str, *, first: str = "") -> Any:
        (tmp_path / "mine.py").write_text(f"{first}{HEAD}\n\n{code}")
        return find(f"{tmp_path / 'mine.py'}:f").object

    yield write
    sys.path[:] = before
    sys.modules.pop(MODULE, None)
    sys.modules.pop("beside", None)


def text_of(function: Any) -> str:
    refusals = Refusals()
    source = source_of(function, "f", refusals)
    assert source is not None, refusals.found
    return source.text()


@pytest.mark.parametrize(
    ("code", "head"),
    [
        ("def f(x):\n    return x\n", []),
        ("def f(x):\n    return math.floor(x) + m.pi\n", ["import math", "import math as m"]),
        (
            "def f(x):\n    return xml.etree.ElementTree.fromstring(x)\n",
            ["import xml", "import xml.etree", "import xml.etree.ElementTree"],
        ),
        (
            "def f(x: Optional[Literal['a']]) -> datetime:\n    return Ordered(x)\n",
            [
                "from collections import OrderedDict as Ordered",
                "from datetime import datetime",
                "from typing import Literal",
                "from typing import Optional",
            ],
        ),
        (
            "def f(x):\n    return os.environ['A'], join(x)\n",
            ["import os", "from posixpath import join"],
        ),
        (
            "def f(x=FEW):\n    return [n for n in NAMES if n in MAX_TOKENS]\n",
            ["FEW = 3", "MAX_TOKENS = 7", "NAMES = {'a': [1, 2.5, None, (True, b'x')]}"],
        ),
        ("def f(n):\n    return n and f(n - 1)\n", []),
        ("def f(x):\n    def g(y):\n        return y + FEW\n    return g(x)\n", ["FEW = 3"]),
        ("def f(x):\n    FEW = x\n    return FEW\n", []),
        ("def f(x):\n    import json\n    from os import path\n    return json, path\n", []),
        ("def f(x):\n    return __name__, len(x), dspy.Example\n", ["import dspy"]),
        ("import functools\n@functools.cache\ndef f(x):\n    return x\n", ["import functools"]),
        ("async def f(x):\n    return x\n", []),
        ("if FEW:\n    def f(x):\n        return '''a\n  b'''\n", []),
    ],
)
def test_what_a_function_uses_stands_before_it(
    pushed: Callable[..., Any], code: str, head: list[str]
) -> None:
    text = text_of(pushed(code))
    lines = text.splitlines()
    assert sorted(lines[: len(head)]) == sorted(head)
    assert lines[len(head) :][0 if not head else 1].startswith(("def f", "async def f", "@func"))
    refusals = Refusals()
    assert callable(defined(text, "f", "f", refusals)), refusals.found


def test_a_string_of_an_indented_function_is_what_it_was(pushed: Callable[..., Any]) -> None:
    function = pushed("if FEW:\n    def f(x):\n        return '''a\n      b''' + (\n 'c'\n)\n")
    alone = defined(text_of(function), "f", "f", Refusals())
    assert alone is not None
    assert alone(1) == function(1)


def test_a_function_of_a_notebooks_cell_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = ["import math\nFEW = 3\n", "def f(x):\n    return math.floor(x) + FEW\n", "FEW = 4\n"]
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        name = f"<ipython-input-{number}>"
        lines = cell.splitlines(keepends=True)
        monkeypatch.setitem(linecache.cache, name, (len(cell), None, lines, name))
        exec(compile(cell, name, "exec"), namespace)
    assert text_of(namespace["f"]).startswith("import math\nFEW = 4\n\ndef f(x):\n")


def test_annotations_of_the_future_stay_so(pushed: Callable[..., Any]) -> None:
    code = "def f(x: 'list[Optional[int]]') -> datetime:\n    return math.floor(x)\n"
    text = text_of(pushed(code, first="from __future__ import annotations\n"))
    assert text.startswith("from __future__ import annotations\nfrom datetime import datetime\n")
    assert defined(text, "f", "f", Refusals())


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("f = lambda x: x\n", "it is a lambda"),
        ("f = print\n", "of the type builtin_function_or_method"),
        ("f = Order\n", "of the type type"),
        ("f = 'text'\n", "of the type str"),
        ("import functools\nf = functools.partial(other, 1)\n", "of the type partial"),
        ("class A:\n    def g(self, x):\n        return x\nf = A().g\n", "it is a method"),
        ("class A:\n    def __call__(self, x):\n        return x\nf = A()\n", "of the type A"),
        ("def g(n):\n    def f(x):\n        return x + n\n    return f\nf = g(1)\n", "uses n of"),
        ("made = {}\nexec('def f(x): return x', made)\nf = made['f']\n", "cannot be read"),
        ("def g(x):\n    return x\ng.__name__ = 'f'\nf = g\n", "in its source it has another name"),
        ("def f(x):\n    return other(x)\n", "'other' is a function of the same file"),
        ("def f(x: Order):\n    return x\n", "'Order' is a class of the same file"),
        ("def f(x):\n    return beside.helper(x)\n", "'beside' is a file of yours"),
        ("def f(x):\n    return helper(x)\n", "'beside' is a file of yours"),
        ("def f(x):\n    import beside\n    return x\n", "'beside' is a file of yours"),
        ("def f(x):\n    from . import beside\n    return x\n", "it imports relatively"),
        ("def f(x):\n    return WORDS.sub('', x)\n", "'WORDS' is a Pattern"),
        ("def f(x):\n    return program(q=x)\n", "'program' is a Predict"),
        ("def f(x):\n    return API_KEY\n", "'API_KEY' looks like a secret"),
        ("def f(x):\n    return CONFIG\n", "'CONFIG' looks like a secret"),
        ("def f(x):\n    return PROVIDER\n", "'PROVIDER' looks like a secret"),
        ("def f(x):\n    return ACCESS_TOKEN\n", "'ACCESS_TOKEN' looks like a secret"),
        ("def f(x):\n    return BYTES\n", "'BYTES' looks like a secret"),
        ("def f(x):\n    return CUSTOMERS\n", "'CUSTOMERS' looks like a secret"),
        ("def f(x):\n    global count\n    count += 1\n", "it changes 'count'"),
        ("def f(x):\n    return open(__file__)\n", "it uses __file__"),
        ("def f(x):\n    return nothing(x)\n", "it uses 'nothing', which there is not"),
    ],
)
def test_what_cannot_be_text_is_refused_with_the_reason(
    pushed: Callable[..., Any], code: str, what: str
) -> None:
    refusals = Refusals()
    assert source_of(pushed(code), "f", refusals) is None
    assert any(what in one.what for one in refusals.found), refusals.found
    assert all(one.to_do for one in refusals.found)


def test_every_name_that_cannot_come_along_is_told(pushed: Callable[..., Any]) -> None:
    refusals = Refusals()
    source_of(pushed("def f(x):\n    return other(WORDS, API_KEY)\n"), "f", refusals)
    assert len(refusals.found) == 3


def test_what_fails_alone_is_refused() -> None:
    refusals = Refusals()
    assert defined("import nothing_there\ndef f(): pass\n", "f", "f", refusals) is None
    (refusal,) = refusals.found
    assert "alone it cannot be defined: ModuleNotFoundError" in refusal.what


@pytest.mark.parametrize(
    ("content", "target", "said"),
    [
        (None, "mine.py:f", "is no file"),
        ("x = 1\n", "mine.py:f", "has no 'f'; modules of DSPy in it: none"),
        ("def (\n", "mine.py:f", "cannot be imported: SyntaxError: invalid syntax"),
        ("x = 1\n1 / 0\n", "mine.py:f", "ZeroDivisionError: division by zero (line 2)"),
        ("raise SystemExit(3)\n", "mine.py:f", "SystemExit: 3 (line 1)"),
        ("import nothing_there\n", "mine.py:f", "ModuleNotFoundError"),
        ("", "mine.py", "is not FILE.py:NAME"),
        ("", "mine.ipynb:f", "is not FILE.py:NAME"),
        ("", "mine.py:f()", "is not FILE.py:NAME"),
    ],
)
def test_a_target_that_is_not_there_is_told(
    pushed: Callable[..., Any], tmp_path: Path, content: str | None, target: str, said: str
) -> None:
    if content is not None:
        (tmp_path / "mine.py").write_text(content)
    with pytest.raises(NotFound) as caught:
        find(f"{tmp_path}/{target}")
    assert said in str(caught.value)


def test_what_the_file_prints_is_no_result(
    pushed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    pushed("print('loud')\nf = 1\n")
    assert capsys.readouterr() == ("", "loud\n")

"""What stands under a model's field in the source, for who describes it.

Python throws these strings away. pydantic can look for them whenever it makes a class, which took
half the time of a gateway's start; they are needed only where something is described.
"""

import ast
import inspect
import itertools
import sys
from functools import cache

from pydantic import BaseModel


def texts(model: type[BaseModel]) -> dict[str, str]:
    """By the field's name; a class has those of its bases. Reads files."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            found |= _of_module(each.__module__).get(each.__name__, {})
    return found


@cache
def _of_module(name: str) -> dict[str, dict[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[name]))
    return {node.name: _under_fields(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _under_fields(made: ast.ClassDef) -> dict[str, str]:
    found = {}
    for node, after in itertools.pairwise(made.body):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[node.target.id] = inspect.cleandoc(str(after.value.value))
    return found

"""Source that is moved to the right or left, without a change of what is inside its strings."""

import ast
import re
from collections.abc import Callable


def indented(text: str) -> str:
    return _moved(text, _inside_strings(text), lambda line: f"    {line}" if line.strip() else line)


def dedented(text: str) -> str:
    """As far as its first line is to the right. Raises SyntaxError."""
    right = len(text) - len(text.lstrip(" \t"))
    if right == 0:
        return text
    inside = {number - 1 for number in _inside_strings(f"if True:\n{text}")}
    return _moved(text, inside, lambda line: re.sub(rf"^[ \t]{{,{right}}}", "", line))


def _moved(text: str, still: set[int], move: Callable[[str], str]) -> str:
    lines = enumerate(text.split("\n"), 1)
    return "\n".join(line if number in still else move(line) for number, line in lines)


def _inside_strings(text: str) -> set[int]:
    """Lines that begin in one."""
    return {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.JoinedStr | ast.Constant) and node.end_lineno is not None
        for number in range(node.lineno + 1, node.end_lineno + 1)
    }

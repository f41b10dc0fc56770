"""The header that names sessions is none in which a gateway reads something else."""

import importlib
import inspect
import pkgutil
import re
from functools import reduce

import anypod_gateway
from anypod.resources.workerpool import HEADERS_WITH_A_MEANING, Sessions
from anypod_gateway import routes

READ = re.compile(
    r"(?<!answer\.)\bheaders\.get(?:all)?\(([\w.\"-]+)|([\w.\"-]+) (?:not )?in request\.headers"
)
"""How sources read a request's header; an answer's is another matter."""


def read_by_gateways() -> set[str]:
    found = set()
    for info in pkgutil.walk_packages(anypod_gateway.__path__, "anypod_gateway."):
        module = importlib.import_module(info.name)
        for name in map("".join, READ.findall(inspect.getsource(module))):
            if name.startswith('"'):
                found.add(name.strip('"').lower())
            elif name != "header":  # the pool's own
                found.add(str(reduce(getattr, name.split("."), module)).lower())
    return found


def test_no_pool_can_name_a_header_that_gateways_read() -> None:
    found = read_by_gateways()
    assert {"host", "prefer", "webhook-url", "last-event-id", "upgrade"} <= found
    assert found <= set(HEADERS_WITH_A_MEANING)


def test_no_pool_can_name_a_header_that_is_documented_for_something_else() -> None:
    documented = {
        parameter.name.lower()
        for route in routes.TABLE
        for parameter in route.parameters
        if parameter.where == "header"
    }
    own = Sessions().header.lower()
    assert own in documented
    assert documented - {own} <= set(HEADERS_WITH_A_MEANING)

"""The environment variables by which a pod tells its worker who it is.

Everything else in the container's environment is the pool's, and programs get it: what the image
sets, and what the pool declares.
"""

import re

CONFIG = "ANYPOD_WORKER_CONFIG"
"""A WorkerConfig as JSON."""

NAME = "ANYPOD_WORKER_NAME"
"""The pod's name, which the configuration cannot know; it goes over ``worker`` there."""

TOKEN = "ANYPOD_LINK_TOKEN"  # noqa: S105 - a variable's name
"""The link's secret. Not a file: programs run as the same user, and could read it."""

LM_KEY = "ANYPOD_WORKER_LM_"
"""With a number: whose key is in which variable, as ``fast=OPENAI_API_KEY``. That variable is taken
away from programs, even if it is one that the image or the pool sets."""

LM_SECRET = "ANYPOD_LINK_LM_KEY_"  # noqa: S105 - a variable's name
"""With a number: the variable that the operator fills from a Secret."""

OURS = ("ANYPOD_WORKER_", "ANYPOD_LINK_")
KUBERNETES = ("KUBERNETES_SERVICE_", "KUBERNETES_PORT")
"""Beginnings of the names that are not for programs."""

_KEY = re.compile(r"[!#-&(-\[\]-~]+")

NO_KEY = "it has a space, a quote, a backslash or a character beyond ASCII"
"""What a text that is no key of an LM has."""


def is_key(text: str) -> bool:
    """Whether JSON has it as it is: else it could not be hidden in what programs answer."""
    return _KEY.fullmatch(text) is not None

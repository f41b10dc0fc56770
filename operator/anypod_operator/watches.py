"""The watches, which kopf keeps: the one module that knows it.

Only its event handlers are used. They keep no state in annotations and put no finalizer on
anything, so nothing waits for an operator that is not there, and no object is too big for them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import kopf

from anypod_operator.kinds import SELECTORS, WATCHED, Kind, Raw

Told = Callable[[Kind, str | None, Raw], None]
"""Kind, ADDED, MODIFIED, DELETED or (at the beginning) None, and the object."""

IDENTITY = "anypod-operator"
"""To other operators of kopf, of which there are none."""
REQUEST_SECONDS = 60.0
CONNECT_SECONDS = 10.0


class Patiently:
    """Pauses between tries, without an end: an API server that is away comes back."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1, 2, 4)
        while True:
            yield 8.0


async def watch(told: Told, namespaces: tuple[str, ...]) -> None:
    """Until a signal asks the process to stop. Raises what breaks a watch for good."""
    await kopf.operator(
        registry=_registry(told),
        settings=_settings(),
        # Else it looks for the name of the user, and the image has none for its own.
        identity=IDENTITY,  # type: ignore[arg-type] # it wants a type that it does not export
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
    )


def _registry(told: Told) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    for kind in WATCHED:
        kopf.on.event(
            kind.group, kind.version, kind.plural, id=f"watch {kind.plural}", registry=registry
        )(_handler(kind, told))
    kopf.on.login(registry=registry, errors=kopf.ErrorsMode.TEMPORARY, backoff=5)(_log_in)
    return registry


def _handler(kind: Kind, told: Told) -> Any:
    async def handle(event: Any, **_: Any) -> None:
        told(kind, event["type"], event["object"])

    return handle


async def _log_in(**given: Any) -> Any:
    return kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # it would watch CRDs and namespaces, and need the right to
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.connect_timeout = CONNECT_SECONDS
    settings.networking.error_backoffs = Patiently()
    settings.process.ultimate_exiting_timeout = 20.0
    for kind, selector in SELECTORS.items():
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = selector
    return settings

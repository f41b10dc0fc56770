"""What a manifest takes from Kubernetes, found for local mode.

A variable from a Secret or ConfigMap is taken from the environment of ``anypod up``, by its own
name: the one manifest then serves both.
"""

from collections.abc import Mapping

from anypod.local.settings import CannotStart
from anypod.resources.lms import Lm
from anypod.resources.surroundings import EnvVar
from anypod.resources.workerpool import WorkerPool
from anypod.wire import pod


def with_values(pool: WorkerPool, environment: Mapping[str, str]) -> WorkerPool:
    """With every variable's value in it. Raises CannotStart."""
    for number, source in enumerate(pool.spec.env_from):
        reference = source.secret_ref or source.config_map_ref
        if reference is not None and not reference.optional:
            raise CannotStart(
                f"spec.envFrom[{number}]: local mode has no Secrets and ConfigMaps; set optional, "
                "or name the variables in spec.env"
            )
    if all(variable.value_from is None for variable in pool.spec.env):
        return pool
    found = [_with_value(variable, environment) for variable in pool.spec.env]
    env = [variable for variable in found if variable is not None]
    return pool.model_copy(update={"spec": pool.spec.model_copy(update={"env": env})})


def _with_value(variable: EnvVar, environment: Mapping[str, str]) -> EnvVar | None:
    source = variable.value_from
    if source is None:
        return variable
    if variable.name in environment:
        return EnvVar(name=variable.name, value=environment[variable.name])
    reference = source.secret_key_ref or source.config_map_key_ref
    if reference is not None and reference.optional:
        return None
    raise CannotStart(
        f"spec.env: {variable.name} comes from Kubernetes, which local mode has not: "
        f"set {variable.name} in the environment of anypod up"
    )


def lm_keys(pool: WorkerPool, environment: Mapping[str, str]) -> dict[str, str]:
    """The key of each LM that has one. Raises CannotStart."""
    return {lm.name: _lm_key(lm, environment) for lm in pool.spec.lms if lm.api_key is not None}


def _lm_key(lm: Lm, environment: Mapping[str, str]) -> str:
    key = environment.get(lm.key_variable, "").strip()
    if not key:
        raise CannotStart(
            f"spec.lms: the key of {lm.name!r} is missing: set {lm.key_variable} in the "
            "environment of anypod up"
        )
    if not pod.is_key(key):
        raise CannotStart(f"spec.lms: {lm.key_variable} is no key: {pod.NO_KEY}")
    return key

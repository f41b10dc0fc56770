"""The OpenAPI 3.1 document, made from the same table and models as the handlers."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

import anypod
from anypod.api import problems
from anypod.api.documents import AnswerModel, RequestModel
from anypod.api.dspy_programs import DspyCode
from anypod.api.programs import ProgramCode
from anypod.resources.texts import texts
from anypod_gateway.routing import PATH_PARAMETERS, Answer, Parameter, Route, Schema

REF = "#/components/schemas/{}"

EVERYWHERE = ("bad-request", "forbidden", "not-found", "method-not-allowed", "internal-error")
"""What any route can answer: aiohttp refuses bad requests before a handler sees them."""

HEADERS: dict[str, Schema] = {
    "X-AnyPod-Execution": {"description": "Id of the execution.", "schema": {"type": "string"}},
    "X-AnyPod-Worker": {"description": "Worker that ran it.", "schema": {"type": "string"}},
    "X-AnyPod-Revision": {"description": "Revision that ran.", "schema": {"type": "string"}},
    "X-AnyPod-Attempt": {
        "description": "1, or more when an earlier worker was lost or refused.",
        "schema": {"type": "integer"},
    },
    "Server-Timing": {
        "description": "`queue;dur=…, run;dur=…`, in milliseconds.",
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "`true` for the answer of an earlier call with the same key.",
        "schema": {"type": "string"},
    },
    "ETag": {"description": 'The revision, as `"…"`.', "schema": {"type": "string"}},
    "Location": {"description": "Path of what was made.", "schema": {"type": "string"}},
    "Preference-Applied": {
        "description": "What of `Prefer` was heeded.",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {
        "description": "`Bearer`, and what is wrong with what was shown.",
        "schema": {"type": "string"},
    },
    "Allow": {"description": "The methods there are.", "schema": {"type": "string"}},
}


SECURED = ("unauthenticated", "too-many-attempts", "authentication-unavailable")
"""What any route that is not open can answer, where callers have to be known."""


def document(table: Sequence[Route], *, secured: bool = True) -> Schema:
    """``secured``: callers have to be known."""
    paths: dict[str, Schema] = {}
    for route in table:
        keyed = secured and route.needs != "open"
        paths.setdefault(_path(route.path), {})[route.method.lower()] = _operation(route, keyed)
    components: Schema = {"schemas": _schemas(table)}
    if secured:
        components["securitySchemes"] = {
            "key": {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key, or a token of Kubernetes.",
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AnyPod",
            "version": anypod.__version__,
            "description": "Create a program once; any ready worker of its pool runs it.",
        },
        "paths": paths,
        "components": components,
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in table)],
    }


def _path(path: str) -> str:
    return re.sub(r"\{(\w+):[^{}]*\}", r"{\1}", path)


def _operation(route: Route, keyed: bool) -> Schema:
    names = re.findall(r"\{(\w+)", route.path)
    operation: Schema = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [
            _parameter(one)
            for one in (*(PATH_PARAMETERS[name] for name in names), *route.parameters)
        ],
        "responses": _responses(route, keyed),
    }
    told = [route.description, f"Needs the verb `{route.needs}`." if keyed else ""]
    if any(told):
        operation["description"] = " ".join(filter(None, told))
    if keyed:
        operation["security"] = [{"key": []}]
    if bodies := [_ref(one) for one in route.requests]:
        schema = bodies[0] if len(bodies) == 1 else {"oneOf": bodies}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    if route.upload is not None:
        media_type, schema = route.upload
        operation["requestBody"] = {"required": True, "content": {media_type: {"schema": schema}}}
    return operation


def _parameter(parameter: Parameter) -> Schema:
    schema = parameter.schema
    if parameter.repeatable:
        schema = {"type": "array", "items": schema}
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "description": parameter.description,
        "schema": schema,
    }


def _responses(route: Route, keyed: bool) -> Schema:
    responses: Schema = {}
    for answer in route.answers:
        entry = responses.setdefault(
            str(answer.status), {"description": answer.description, "content": {}}
        )
        entry["content"] |= _content(answer)
        if answer.headers:
            entry["headers"] = {name: HEADERS[name] for name in answer.headers}
    types = dict.fromkeys((*route.problems, *EVERYWHERE, *(SECURED if keyed else ())))
    for status in sorted({problems.TABLE[one].status for one in types}):
        responses[str(status)] = _problem(
            [one for one in types if problems.TABLE[one].status == status]
        )
    return responses


def _content(answer: Answer) -> Schema:
    if answer.model is not None:
        return {answer.content_type: {"schema": _ref(answer.model)}}
    if answer.schema is not None:
        return {answer.content_type: {"schema": answer.schema}}
    return {}


def _problem(types: Sequence[str]) -> Schema:
    status = problems.TABLE[types[0]].status
    entry: Schema = {
        "description": "; ".join(f"`{one}`: {problems.TABLE[one].title}" for one in types),
        "content": {
            problems.CONTENT_TYPE: {
                "schema": {
                    "allOf": [_ref(problems.Problem)],
                    "properties": {"type": {"enum": list(types)}, "status": {"const": status}},
                }
            }
        },
    }
    if status == 401:
        entry["headers"] = {"WWW-Authenticate": HEADERS["WWW-Authenticate"]}
    if status in {429, 503}:
        entry["headers"] = {"Retry-After": HEADERS["Retry-After"]}
    if status == 405:
        entry["headers"] = {"Allow": HEADERS["Allow"]}
    return entry


def _ref(model: Any) -> Schema:
    return {"$ref": REF.format(model.__name__)}


def _schemas(table: Sequence[Route]) -> Schema:
    named = [problems.Problem, ProgramCode, DspyCode]
    named += [one for route in table for one in route.requests]
    named += [answer.model for route in table for answer in route.answers if answer.model]
    unique = list(dict.fromkeys(named))
    structs = [one for one in unique if issubclass(one, msgspec.Struct)]
    models = [one for one in unique if issubclass(one, BaseModel)]
    _, from_structs = msgspec.json.schema_components(structs, ref_template=REF.format("{name}"))
    return dict(sorted((_of_models(models) | from_structs).items()))


class _Generator(GenerateJsonSchema):
    """Without titles, which only repeat names, with the texts of answers' fields, and with rules
    for names that forbid others."""

    def model_schema(self, schema: Any) -> Schema:
        made: Schema = super().model_schema(schema)
        if issubclass(model := schema["cls"], AnswerModel):
            for name, text in texts(model).items():
                member = made["properties"][model.model_fields[name].alias]
                member.setdefault("description", text)
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def dict_schema(self, schema: Any) -> Schema:
        made = super().dict_schema(schema)
        patterns = made.pop("patternProperties", None)
        if patterns:
            (pattern, values), *_ = patterns.items()
            made["additionalProperties"] = values
            made["propertyNames"] = {"pattern": pattern} | made.get("propertyNames", {})
        return made


def _of_models(models: Iterable[type[BaseModel]]) -> Schema:
    # Requests as they are read; answers as they are written, with every member there.
    modes: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (one, "validation" if issubclass(one, RequestModel) else "serialization") for one in models
    ]
    _, defs = models_json_schema(
        modes, ref_template=REF.format("{model}"), schema_generator=_Generator
    )
    schemas: Schema = defs.get("$defs", {})
    return schemas

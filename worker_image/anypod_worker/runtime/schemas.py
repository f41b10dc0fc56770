"""JSON schemas of a program's inputs and outputs, for people and for generated clients."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from anypod_worker.runtime import outputs

_DIALECT = GenerateJsonSchema.schema_dialect
_MAX_DEFAULT = 1024
"""A larger default is not shown."""


class _Generator(GenerateJsonSchema):
    """Where JSON schema has no word for a type it says "anything", without a warning."""

    def handle_invalid_for_json_schema(
        self,
        schema: core_schema.CoreSchema,
        error_info: str,
    ) -> JsonSchemaValue:
        return {}

    def emit_warning(self, kind: Any, detail: str) -> None:
        """Nobody reads them."""

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        found = super().bytes_schema(schema)
        if found.get("format") == "base64url":
            del found["format"]
            found["contentEncoding"] = "base64"
        return found


def _of(model: type[BaseModel], mode: JsonSchemaMode) -> dict[str, Any]:
    return model.model_json_schema(schema_generator=_Generator, mode=mode)


def of_inputs(model: type[BaseModel]) -> dict[str, Any]:
    """Of the object of inputs; the member for ``**kwargs`` becomes ``additionalProperties``."""
    schema = _of(model, "validation")
    others = schema.setdefault("properties", {}).pop("", None)
    if others is not None:
        schema["additionalProperties"] = others.get("additionalProperties", True)
        schema["required"] = [name for name in schema.get("required", []) if name]
        if not schema["required"]:
            del schema["required"]
    schema.pop("title", None)
    return {"$schema": _DIALECT, **schema}


def of_outputs(type_: Any, config: ConfigDict) -> dict[str, Any]:
    """Of the outputs, or of anything where there is no schema."""
    try:
        model: type[BaseModel] = create_model("Outputs", __config__=config, value=(type_, ...))
        schema = _of(model, "serialization")
    except Exception:  # noqa: BLE001 - pydantic and the program's own types raise many kinds
        return {"$schema": _DIALECT}
    found = dict(schema["properties"]["value"])
    if found.get("title") == "Value":
        del found["title"]
    if "$defs" in schema:
        found["$defs"] = schema["$defs"]
    return {"$schema": _DIALECT, **found}


def shown_default(default: Any) -> dict[str, Any]:
    """What a schema says of a parameter's default: nothing if it is not JSON."""
    try:
        return {"default": json.loads(outputs.encode(default, limit=_MAX_DEFAULT))}
    except outputs.BadOutput:
        return {}

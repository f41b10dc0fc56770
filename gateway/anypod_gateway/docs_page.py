"""The page at ``/docs``: the OpenAPI document for people.

Rendered here without a script: it fetches nothing, so it works where nothing else can be
reached, and needs no exception in any content policy.
"""

import json
from collections.abc import Iterable
from html import escape
from typing import Any

Schema = dict[str, Any]

CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #2563eb; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; text-transform: capitalize; }
code, pre, .path { font: 14px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .7rem; border-radius: 6px; overflow-x: auto; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; }
details > div { padding: 0 1rem 1rem; }
summary { padding: .5rem .8rem; cursor: pointer; display: flex; gap: .8rem; align-items: baseline;
  flex-wrap: wrap; }
summary small { opacity: .75; }
.method { font-weight: 700; min-width: 4.2rem; color: var(--accent); }
.method.delete { color: #dc2626; } .method.post { color: #16a34a; } .method.put { color: #d97706; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .6rem .3rem 0; text-align: left;
  vertical-align: top; }
"""


def render(document: Schema) -> str:
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} HTTP API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} HTTP API</h1>"
        f"<p>{escape(info['description'])} Version {escape(info['version'])}; OpenAPI "
        f'{escape(document["openapi"])}: <a href="/openapi.json">/openapi.json</a>.</p>'
        f"{''.join(_tags(document))}"
        f"<h2>Schemas</h2>{''.join(_schemas(document))}</body></html>"
    )


def _tags(document: Schema) -> Iterable[str]:
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2>"
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if tag["name"] in operation["tags"]:
                    yield _operation(document, path, method, operation)


def _operation(document: Schema, path: str, method: str, operation: Schema) -> str:
    parts = [
        f'<details id="{escape(operation["operationId"])}"><summary>',
        f'<span class="method {method}">{method.upper()}</span>',
        f'<span class="path">{escape(path)}</span>',
        f"<small>{escape(operation['summary'])}</small></summary><div>",
    ]
    if "description" in operation:
        parts.append(f"<p>{_text(operation['description'])}</p>")
    parts += [_parameters(operation), _request(document, operation), _responses(operation)]
    return "".join(parts) + "</div></details>"


def _parameters(operation: Schema) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}</td>"
        f"<td><code>{escape(_brief(one['schema']))}</code></td>"
        f"<td>{_text(one['description'])}</td></tr>"
        for one in operation["parameters"]
    )
    return f"<h4>Parameters</h4><table>{rows}</table>" if rows else ""


def _request(document: Schema, operation: Schema) -> str:
    if "requestBody" not in operation:
        return ""
    ((kind, content),) = operation["requestBody"]["content"].items()
    schema = content["schema"]
    bodies = [_body(document, kind, one) for one in schema.get("oneOf", [schema])]
    return f"<h4>Request</h4>{'<p>or</p>'.join(bodies)}"


def _body(document: Schema, kind: str, schema: Schema) -> str:
    told = _link(schema) or f"<code>{escape(kind)}</code> {_text(schema['description'])}"
    return told + _members(_resolve(document, schema))


def _responses(operation: Schema) -> str:
    rows = "".join(
        f"<tr><td><code>{status}</code></td><td>{_text(one['description'])}</td>"
        f"<td>{_contents(one)}</td><td>{_headers(one)}</td></tr>"
        for status, one in operation["responses"].items()
    )
    return f"<h4>Answers</h4><table>{rows}</table>"


def _contents(response: Schema) -> str:
    return "<br>".join(
        f"<code>{escape(kind)}</code> {_link(content['schema'])}"
        for kind, content in response.get("content", {}).items()
    )


def _headers(response: Schema) -> str:
    return "<br>".join(f"<code>{escape(name)}</code>" for name in response.get("headers", ()))


def _members(schema: Schema) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{' *' if name in required else ''}</td>"
        f"<td><code>{escape(_brief(one))}</code></td>"
        f"<td>{_text(one.get('description', ''))}</td></tr>"
        for name, one in schema.get("properties", {}).items()
    )
    return f"<table>{rows}</table>" if rows else ""


def _schemas(document: Schema) -> Iterable[str]:
    for name, schema in document["components"]["schemas"].items():
        yield (
            f'<details><summary><span class="path">{escape(name)}</span>'
            f"<small>{_text(schema.get('description', ''))}</small></summary>"
            f'<div id="schema-{escape(name)}">'  # inside: a link to it opens the details
            f"{_members(schema)}<pre>{escape(json.dumps(schema, indent=2))}</pre></div></details>"
        )


def _resolve(document: Schema, schema: Schema) -> Schema:
    name = _target(schema)
    found: Schema = document["components"]["schemas"][name] if name else schema
    return found


def _target(schema: Schema) -> str:
    for one in (schema, *schema.get("allOf", ())):
        if "$ref" in one:
            return str(one["$ref"]).rpartition("/")[2]
    return ""


def _link(schema: Schema) -> str:
    name = _target(schema)
    return f'<a href="#schema-{escape(name)}">{escape(name)}</a>' if name else ""


def _brief(schema: Schema) -> str:
    """A schema in a few characters."""
    if name := _target(schema):
        return name
    if "anyOf" in schema:
        return " | ".join(_brief(one) for one in schema["anyOf"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(one) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"{_brief(schema.get('items', {}))}[]"
    if "pattern" in schema:
        return f"{schema['type']} {schema['pattern']}"
    kind = schema.get("type", "any")
    return " | ".join(kind) if isinstance(kind, list) else str(kind)


def _text(markdown: str) -> str:
    """Of Markdown, only code in backticks."""
    parts = escape(markdown).split("`")
    return "".join(
        f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts)
    )

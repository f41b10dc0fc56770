"""Values of demos, held to the types of the fields that they show.

Where a revision is made, not where one is loaded: those that earlier versions took go on to run.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from anypod.dspy import spec
from anypod_worker.kinds.dspy import types
from anypod_worker.runtime.loading import invalid


class Fields:
    """Those of one predictor, and of the program, whose types are said."""

    def __init__(self, document: spec.Spec, own: types.Own, signature: Any) -> None:
        said = [*document.signature.inputs, *document.signature.outputs]
        made = {name: field.annotation for name, field in signature.fields.items()}
        made |= {field.name: types.of(field.type, own, given=True) for field in said}
        talks = {field.name for field in said if field.type == "History"}
        self._types = {n: TypeAdapter(type_) for n, type_ in made.items() if n not in talks}

    def check(self, name: str, value: Any) -> None:
        """No value is as none at all. Raises ValidationError."""
        if value is not None and name in self._types:
            self._types[name].validate_python(value)

    def fitted(self, demo: Mapping[str, Any]) -> dict[str, Any] | None:
        """Of several right answers the first that fits; None when one field has none that does."""
        found = {}
        for name, value in demo.items():
            fitting = next(self._fitting(name, value), None)
            if fitting is None:
                return None
            found[name] = fitting
        return found

    def _fitting(self, name: str, value: Any) -> Iterator[Any]:
        for one in [value, *(value if isinstance(value, list) else ())]:
            try:
                self.check(name, one)
            except ValidationError:
                continue
            yield one


def check(document: spec.Spec, own: types.Own, name: str, signature: Any) -> None:
    """Those of the predictor of that name. Raises InvalidProgram."""
    state = document.state.get(name, spec.PredictorState())
    if not state.demos:
        return
    fields = Fields(document, own, signature)
    for number, demo in enumerate(state.demos):
        for field, value in demo.items():
            try:
                fields.check(field, value)
            except ValidationError as error:
                path, why = types.first_error(error, f"state.{name}.demos.{number}.{field}")
                raise invalid(f"{path}: {why}", path=path) from None

"""What examples expect of the output that is compared, made what the output's type says.

Files and people write 3 as "3" and leave defaults out. An answer would never equal that, and the
program would score 0 for it; what no answer could equal is refused before the LM is asked.
"""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from anypod.dspy import tasks
from anypod_worker.kinds.dspy import types
from anypod_worker.kinds.dspy.models import Models
from anypod_worker.runtime.inputs import Rejected, refused


@dataclass(frozen=True, slots=True)
class Expected:
    field: str
    type: TypeAdapter[Any]

    @classmethod
    def of(cls, metric: tasks.Metric, models: Models) -> "Expected | None":
        """None: other metrics may compare it with what is no value of the type."""
        if metric.name != "exact-match":
            return None
        annotation: Any = models.outputs.model_fields[metric.field].annotation
        return cls(metric.field, TypeAdapter(annotation))

    def made(self, expected: dict[str, Any]) -> dict[str, Any]:
        """Raises Rejected."""
        value = expected[self.field]
        try:
            return {**expected, self.field: self._valid(value)}
        except ValidationError as error:
            if not isinstance(value, list) or any(isinstance(one, list) for one in value):
                raise self._refused(error) from None
        try:  # a list of values: each is right
            return {**expected, self.field: [self._valid(one) for one in value]}
        except ValidationError as error:
            raise self._refused(error) from None

    def _valid(self, value: Any) -> Any:
        """As JSON has it, for that is how it is compared. Raises ValidationError."""
        return self.type.dump_python(self.type.validate_json(json.dumps(value)), mode="json")

    def _refused(self, error: ValidationError) -> Rejected:
        return refused(*types.first_error(error, f"expected.{self.field}"))

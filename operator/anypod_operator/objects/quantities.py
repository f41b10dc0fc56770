"""Quantities as Kubernetes has them: ``100m``, ``0.1`` and ``1e-1`` are the same, and ``256Mi``
is less than ``1G``."""

import re
from decimal import Decimal
from typing import Any

_UNITS = {
    "": Decimal(1),
    **{unit: Decimal(1000) ** -power for power, unit in enumerate("mun", start=1)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))"
    r"(?:[eE](?P<exponent>[+-]?[0-9]{1,3})|(?P<unit>[numkMGTPE]?|[KMGTPE]i))"
)


def is_less(one: Any, other: Any) -> bool:
    """Not so if one of them is no quantity: the API server refuses that, and says so."""
    first, second = _number(one), _number(other)
    return first is not None and second is not None and first < second


def _number(quantity: Any) -> Decimal | None:
    match = _QUANTITY.fullmatch(str(quantity))
    if match is None:
        return None
    number = Decimal(match["number"])
    if match["exponent"]:
        return number.scaleb(int(match["exponent"]))
    return number * _UNITS[match["unit"]]

"""The operator's safety checker: a function that looks at drawn pictures before they are given out. Off by default.

`check(pictures, prompt)` gets uint8 [n, H, W, 3] and says for each picture why it is withheld, or None. It is called from
several threads, previews go through it too, and one that fails gives nothing out.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from service.domain.errors import Unavailable
from worker.inference.api.answers import Safety

Check = Callable[[np.ndarray, str], Sequence[str | None]]


class SafetyFailed(Unavailable):
    """The safety checker failed, so the pictures were not given out."""

    code = "safety_failed"


@dataclass(frozen=True, slots=True)
class SafetyChecker:
    """`check` None: off."""

    check: Check | None = None

    def reasons(self, pictures: np.ndarray, prompt: str) -> list[str | None]:
        """Why each picture is withheld, or None. Raises SafetyFailed."""
        if self.check is None:
            return [None] * len(pictures)
        try:
            reasons = [None if each is None else str(each) for each in self.check(pictures, prompt)]
        except Exception as error:
            raise SafetyFailed from error
        if len(reasons) != len(pictures):
            raise SafetyFailed(f"The safety checker judged {len(reasons)} of {len(pictures)} pictures.")
        return reasons

    def state(self, reasons: Sequence[str | None]) -> Safety:
        if self.check is None:
            return "off"
        return "withheld" if any(each is not None for each in reasons) else "passed"


def find(name: str) -> SafetyChecker:
    """The function `module:function` names; "" is off. SystemExit with a sentence where there is none."""
    if not name:
        return SafetyChecker()
    module, _, function = name.partition(":")
    try:
        check = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise SystemExit(f"strop: STROP_SAFETY_CHECKER: {name} cannot be loaded: {error}") from None
    if not callable(check):
        raise SystemExit(f"strop: STROP_SAFETY_CHECKER: {name} is not a function")
    return SafetyChecker(check)

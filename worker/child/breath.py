"""Signs of life between two events: a step or a validation may take longer than the parent waits for a word.

One is given whenever a call of the denoiser or of the decoder came to its end, but not more often than the parent needs it. The hooks
are on the modules, as the counter's: whatever draws or trains breathes. They read nothing and change no bit.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any

from torch import nn

from worker import pipe

SECONDS = 10.0
"""Between two signs, at least."""


class Breath:
    def __init__(self, say: Callable[[pipe.Message], None], clock: Callable[[], float] = monotonic) -> None:
        self._say, self._clock = say, clock
        self._last = clock()

    def take(self) -> None:
        """Something came to its end."""
        if self._clock() - self._last >= SECONDS:
            self._last = self._clock()
            self._say(pipe.Still())

    def with_calls_of(self, *modules: nn.Module) -> None:
        for module in modules:
            module.register_forward_hook(self._called)

    def _called(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.take()

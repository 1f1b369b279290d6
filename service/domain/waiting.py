"""Why nobody takes a queued job: what it needs that no worker offers, as a sentence for whoever posted it.

A claim decides the same in the database (`needs` and `Offered` in offers.py); a test holds the two together.
"""

from collections.abc import Collection, Mapping

from service.domain.offers import Offered

ABSENT_SECONDS = 600.0
"""A worker that has neither looked for work nor had a job for so long counts as gone: more than the longest poll_seconds, jittered."""


def foremost(workers: Collection[Offered]) -> list[Offered]:
    """Those that no other one covers, one of equals: who can take a job, and what all lack for it, can be asked of these alone."""
    found: list[Offered] = []
    for worker in workers:
        if not any(other.covers(worker) for other in found):
            found = [*(other for other in found if not worker.covers(other)), worker]
    return found


def wait_reason(needs: Mapping[str, float | None], workers: Collection[Offered]) -> str | None:
    """None where one of the workers offers all that the job needs: then it only waits for its turn."""
    if any(all(worker.meets(*need) for need in needs.items()) for worker in workers):
        return None
    if not workers:
        return f"no worker has looked for work in the last {ABSENT_SECONDS / 60:.0f} minutes: start one, or see the log of those that run"
    lacking = {
        need: amount for need, amount in needs.items() if not any(worker.meets(need, amount) for worker in workers)
    }
    if lacking:
        most = max(worker.memory_gib for worker in workers)
        return "no worker that is up can take it: " + "; ".join(_lack(*need, most) for need in sorted(lacking.items()))
    return "some worker meets each of its needs, but none meets all of them: " + ", ".join(
        _name(*need) for need in sorted(needs.items())
    )


def _lack(need: str, amount: float | None, most: float) -> str:
    match need.partition(":")[0]:
        case "memory_gib":
            return f"it needs {amount:g} GiB of device memory (needs.memory_gib, else by its base model's entry), and the largest has {most:g}"
        case "label":
            return f"none carries the {_name(need, amount)} (STROP_WORKER_LABELS)"
        case "model":
            return f"none has the {_name(need, amount)} as the catalogue had it when the job was posted (a worker's log says why)"
    return f"none knows the {_name(need, amount)} (bring every worker to the newest version)"


def _name(need: str, amount: float | None) -> str:
    """base model 'shapes', label 'big', 24 GiB of device memory."""
    kind, _, name = need.partition(":")
    match kind:
        case "memory_gib":
            return f"{amount:g} GiB of device memory"
        case "model":
            of, name, _ = name.rsplit(":", 2)
            return f"{'preview decoder of' if of == 'decoder' else f'{of} model'} {name!r}"
        case "recipe":
            return f"recipe format {name}"
    return f"{kind} {name!r}"

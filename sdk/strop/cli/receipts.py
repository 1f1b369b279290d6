"""`strop receipts …`: what an adapter does beside its base model, and whether what a file says of it is genuine."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from strop.cli.keyring import keys_for
from strop.cli.verb import Out, UsageError, Verb
from strop.client import Client
from strop.records import Receipt
from strop.verifying import canonical_file


def get(client: Client, given: argparse.Namespace, out: Out) -> None:
    receipt = client.receipts.get(given.adapter)
    if given.output:
        given.output.write_bytes(receipt.content)
    out.record(receipt.body, *_lines(receipt.body), *([f"written to {given.output}"] if given.output else []))


def get_arguments(parser: argparse.ArgumentParser) -> None:
    _one_adapter(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="keep the signed file, to be verified anywhere"
    )


def ask(client: Client, given: argparse.Namespace, out: Out) -> int:
    prompts = [line for line in given.prompts.read_text().splitlines() if line.strip()] if given.prompts else None
    receipt = client.receipts.ask(given.adapter, prompts, given.seed)
    out.record(receipt, *_lines(receipt), "not signed: the service signs what it asks for by itself")
    return 0 if receipt["verdict"] == "passed" else 1


def ask_arguments(parser: argparse.ArgumentParser) -> None:
    _one_adapter(parser)
    parser.add_argument("--prompts", metavar="FILE", type=Path, help="a prompt a line (default: the job's own)")
    parser.add_argument(
        "--seed", type=int, action="append", metavar="N",
        help="of a picture; repeated, as often for each prompt as for the others (default: four a prompt, from 0)",
    )  # fmt: skip


def verify(client: Client, given: argparse.Namespace, out: Out) -> int:
    content = given.file.read_bytes()
    keys = _keys(given.keys) if given.keys else keys_for(client, canonical_file(content)["key_id"])
    receipt = client.receipts.verify(content, keys)
    genuine = f"genuine: {receipt.adapter}, signed with the key {receipt.key_id}"
    out.record(receipt.body, genuine, *_lines(receipt.body))
    return 0 if receipt.verdict == "passed" else 1


def verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a signed receipt, as `strop receipts get -o` keeps it")
    parser.add_argument(
        "--keys", metavar="FILE|URL",
        help="the public keys, as `strop receipts keys` prints them (default: those kept in ~/.cache/strop; the gateway is asked "
        "only for a key that is not among them yet)",
    )  # fmt: skip


def keys(client: Client, given: argparse.Namespace, out: Out) -> None:
    out.console.file.write(json.dumps(client.receipts.keys()) + "\n")


def _one_adapter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("adapter", metavar="ADAPTER", help="red-things (its newest version), red-things@2, …@stable")


def _keys(place: str) -> dict[str, Any]:
    """Raises UsageError."""
    try:
        if place.startswith(("http://", "https://")):
            answer = httpx.get(place, timeout=30.0)
            answer.raise_for_status()
            read = answer.json()
        else:
            read = json.loads(Path(place).read_bytes())
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise UsageError(f"{place}: {error}") from None
    if not isinstance(read, dict) or not isinstance(read.get("keys"), list):
        raise UsageError(f"{place} holds no set of keys: keep what `strop receipts keys` prints")
    return read


def _lines(body: Mapping[str, Any] | Receipt) -> list[str]:
    assert isinstance(body, Mapping)
    calls, latency, reward, held_out = (body[name] for name in ("calls", "latency", "reward", "held_out"))
    lines = [
        f"{body['adapter']} on {body['base_model']}: {body['verdict']}",
        *(f"  {reason}" for reason in body["reasons"]),
        f"  denoiser calls a picture {calls['adapter']:g}, base {calls['base']:g}: {calls['ratio']:.3f} ×",
        f"  latency {latency['ratio']:.2f} × {_span(latency['ratio_ci95'], '{:.2f}')}, on {body['device']}",
        _judged(reward),
        _judged(held_out, "held out: ") if held_out else f"  held out: none, {body['held_out_missing']}",
    ]
    even = body["break_even"]
    found = f"from picture {even['images']:,} on" if even["images"] is not None else f"open, {even['reason']}"
    return [*lines, f"  break-even of the training with search: {found}"]


def _judged(found: Mapping[str, Any], before: str = "") -> str:
    return (
        f"  {before}{found['reward']['type']} {found['base_mean']:.4f} → {found['adapter_mean']:.4f}, "
        f"wins {found['win_rate']:.0%} {_span(found['win_rate_ci95'], '{:.0%}')}"
    )


def _span(ci95: tuple[float, float], shape: str) -> str:
    return f"({' to '.join(shape.format(each) for each in ci95)})"


VERBS = {
    "get": Verb("show an adapter's signed receipt, or keep it", get, get_arguments),
    "ask": Verb("have an adapter measured now, unsigned; exit code 1 unless it passes", ask, ask_arguments),
    "verify": Verb("check a signed receipt; exit code 1 unless it is genuine and passed", verify, verify_arguments),
    "keys": Verb("print the public keys, to verify without the service", keys),
}

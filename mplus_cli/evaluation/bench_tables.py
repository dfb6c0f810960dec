"""Benchmarks against length as tables: what was measured, and what was counted."""

from __future__ import annotations

from typing import Any

from mplus_cli import terminal
from mplus_cli.words import size


def length(found: dict[str, Any], as_json: bool) -> None:
    """Times and bytes, a line a length; one JSON object as the last line, as other benchmarks have it."""
    if not as_json:
        head = ("tokens", "write tokens/s", "recall s", "first token s", "decode s", "save MB/s", "load s", "GPU peak",
                "memory peak", "disk")  # fmt: skip
        terminal.table(head, [_length_row(row) for row in found["lengths"]], right=head)
        terminal.say(found["filled"], style="dim")
    terminal.json_line(found)


def _length_row(row: dict[str, Any]) -> list[str]:
    if not row["fits"]:
        return [f"{row['tokens']:,}", *["–"] * 8, f"{size(row['disk_bytes'])}: no room"]
    saved = row["save_bytes_per_second"]
    return [
        f"{row['tokens']:,}", f"{row['write_tokens_per_second']:,.0f}", f"{row['recall_s']:.4f}",
        f"{row['first_token_s']:.4f}", f"{row['decode_s_per_token']:.4f}", f"{saved / 1e6:,.0f}" if saved else "–",
        f"{row['load_s']:.3f}", size(row["peak_device_bytes"]), size(row["peak_rss_bytes"]), size(row["disk_bytes"]),
    ]  # fmt: skip


def recall(found: dict[str, Any], as_json: bool) -> None:
    """Seconds and what was found, a line a number of rows; one JSON object as the last line."""
    if not as_json:
        head = ("rows", "of them copies", "recall s", "plain s", "recall cpu s", "plain cpu s", "found", "least",
                "read", "anonymous")  # fmt: skip
        terminal.table(head, [_recall_row(row) for row in found["rows"]], right=head)
        said = f"layer {found['layer']}, {found['keys']} keys, the best {found['recalled']} rows"
        terminal.say(f"{said}; plain: the formula as it stands, in float32", style="dim")
    terminal.json_line(found)


def _recall_row(row: dict[str, Any]) -> list[str]:
    times = (row["recall_s"], row["plain_s"], row["recall_cpu_s"], row["plain_cpu_s"])
    return [
        f"{row['rows']:,}", f"{row['copies']:,}", *(f"{seconds:.3f}" for seconds in times), f"{row['found']:.4f}",
        f"{row['least_found']:.4f}", size(row["bytes"]), size(row["anonymous_bytes"]),
    ]  # fmt: skip


def flops(found: dict[str, Any], as_json: bool) -> None:
    """The paper's table, methods by length, and matched budgets; one JSON object as the last line."""
    if not as_json:
        if found["paper"]:
            _paper(found["paper"])
            terminal.out()
        _methods(found["lengths"])
    if not as_json and found["paper"]:
        terminal.out()
        head = ("tokens read", "cache tokens at equal bytes", "full-context tokens at equal FLOPs")
        rows = [(f"{row['tokens']:,}", f"{row['cache_tokens_at_equal_bytes']:,}",
                 f"{row['full_context_tokens_at_equal_flops']:,}") for row in found["lengths"]]  # fmt: skip
        terminal.table(head, rows, right=head)
    terminal.json_line(found)


def _paper(rows: list[dict[str, Any]]) -> None:
    """Reading in the paper's setting: the last window of tokens as the prompt, behind a full memory."""
    head = ("tokens", "Llama", "M+", "M+ / Llama", "M+, hidden rows", "its ratio", "paper: Llama", "paper: M+")
    shown = [
        (f"{row['tokens']:,}", _flops(row["llama"]), _flops(row["mplus"]), f"{row['ratio']:.2f}",
         _flops(row["mplus_hidden"]), f"{row['ratio_hidden']:.2f}", _flops(row.get("paper_llama")),
         _flops(row.get("paper_mplus")))
        for row in rows
    ]  # fmt: skip
    terminal.table(head, shown, right=head)


def _methods(rows: list[dict[str, Any]]) -> None:
    head = ("tokens", "method", "read", "one answer", "held")
    shown = [
        (f"{row['tokens']:,}", name, _flops(cost["read"]), _flops(cost["answer"]), size(cost["held_bytes"]))
        for row in rows
        for name, cost in row["methods"].items()
    ]
    terminal.table(head, shown, right=("tokens", "read", "one answer", "held"))


def _flops(number: float | None) -> str:
    return "–" if number is None else f"{number:.3g}"

"""Records as tables for people and as JSON for scripts: libraries, documents, models, checks, plans, measurements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mplus_cli import terminal
from mplus_cli.documents.document import Page, Section, page_at
from mplus_cli.words import count, duration, size

if TYPE_CHECKING:
    from mplus_cli.doctor import Check
    from mplus_cli.hub import PullDone, PullProgress
    from mplus_cli.library.records import DocumentRecord, Finding
    from mplus_cli.models import FileFinding, ModelRecord
    from mplus_cli.planner import Plan
    from mplus_cli.settings import Settings
    from mplus_cli.shelf import LibrarySummary, PageText

MODES = {
    "latent": "latent",
    "raw-kv": "raw-kv: a Llama without memory training; every token's keys and values are kept",
}


def _pairs(rows: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line; empty values are left out."""
    terminal.table(("", ""), [row for row in rows if row[1] not in ("", None)], header=False)


# ---------------------------------------------------------------------------------------------------------- libraries


def libraries(found: Sequence[LibrarySummary], as_json: bool) -> None:
    """All libraries; one that cannot be opened says why."""
    if as_json:
        terminal.json_line({"libraries": [summary.to_json() for summary in found]})
        return
    if not found:
        terminal.say("no libraries yet; try: mplus ingest BOOK")
        return
    rows = [
        (
            entry.name,
            entry.documents,
            f"{entry.chunks:,}",
            size(entry.bytes),
            entry.row_format,
            entry.model,
            entry.problem,
        )
        for entry in found
    ]
    columns = ("library", "documents", "chunks", "size", "rows", "model", "")
    terminal.table(columns, rows, right=("documents", "chunks", "size"))


def library(summary: LibrarySummary, found: Sequence[DocumentRecord], as_json: bool) -> None:
    """One library and its documents."""
    if as_json:
        terminal.json_line({**summary.to_json(), "list": [_document_json(record) for record in found]})
        return
    _pairs(
        [
            ("library", summary.name),
            ("folder", summary.path),
            ("model", f"{summary.model} ({summary.fingerprint[:12]})"),
            ("size", size(summary.bytes)),
            ("rows", summary.row_format),
            ("documents", summary.documents),
            ("chunks", f"{summary.chunks:,}"),
        ]
    )
    if found:
        terminal.out()
        documents(found, False)


def findings(found: Iterable[Finding], as_json: bool) -> list[Finding]:
    """What `library verify` found, as it finds it; returns those that are not well."""
    bad: list[Finding] = []
    total = 0
    for finding in found:
        total += 1
        bad += [] if finding.ok else [finding]
        if as_json:
            terminal.json_line(asdict(finding))
        elif not finding.ok:
            terminal.out(f"damaged {finding.kind} {finding.name}: {finding.detail}", style="red")
            terminal.out(finding.remedy, style="dim", indent=2)
    if as_json:
        terminal.json_line({"event": "done", "checked": total, "damaged": len(bad)})
    else:
        terminal.out(f"{count(total, 'thing')} checked, {f'{len(bad)} damaged' if bad else 'all well'}")
    return bad


# ---------------------------------------------------------------------------------------------------------- documents


def _document_json(record: DocumentRecord) -> dict[str, Any]:
    return asdict(record)


def documents(found: Sequence[DocumentRecord], as_json: bool) -> None:
    """Documents in reading order."""
    if as_json:
        terminal.json_line({"documents": [_document_json(record) for record in found]})
        return
    if not found:
        terminal.say("no documents yet; try: mplus ingest BOOK")
        return
    rows = [
        (record.number, record.slug, record.title, record.author, f"{record.pages_total:,}", f"{record.chunks:,}",
         _state(record))
        for record in found
    ]  # fmt: skip
    columns = ("no.", "name", "title", "author", "pages", "chunks", "state")
    terminal.table(columns, rows, right=("no.", "pages", "chunks"))


def _state(record: DocumentRecord) -> str:
    done = f", {record.chunks_read / record.chunks:.0%}" if record.state == "reading" and record.chunks else ""
    return f"{record.state}{done}"


def document(record: DocumentRecord, as_json: bool) -> None:
    """All that is known of one document."""
    if as_json:
        terminal.json_line(_document_json(record))
        return
    _pairs(
        [
            ("title", record.title),
            ("author", record.author),
            ("language", record.language),
            ("id", record.id),
            ("name", record.slug),
            ("source", f"{record.source} ({record.format})"),
            ("characters", f"{record.characters:,}"),
            ("tokens", f"{record.tokens:,}"),
            ("chunks", f"{record.chunks_read:,} of {record.chunks:,} read"),
            ("pages", f"{record.pages_read:,} of {record.pages_total:,} read, by {record.page_kind}"),
            ("added", record.added_at),
            *(("skipped", f"{skipped.where}: {skipped.reason}") for skipped in record.skipped),
            *(("warning", warning) for warning in record.warnings),
        ]
    )


def text(document: str, words: str, as_json: bool) -> None:
    """The stored text, character for character: offsets count in it. No newline is added."""
    if as_json:
        terminal.json_line({"id": document, "text": words})
    else:
        terminal.raw(words)


def pages(found: Sequence[PageText], as_json: bool) -> None:
    """The text of some pages, each under its number."""
    if as_json:
        terminal.json_line({"pages": [asdict(page) for page in found]})
        return
    for page in found:
        label = f" ({page.label})" if page.label not in ("", str(page.index)) else ""
        terminal.out(f"── page {page.index}{label}", style="dim")
        if terminal.shows_stdout():
            terminal.out(page.text.strip("\n").rstrip())
        else:
            terminal.raw(page.text.rstrip() + "\n")


def toc(sections: Sequence[Section], pages: tuple[Page, ...], as_json: bool) -> None:
    """Chapters with the page each begins on."""
    entries = [(section, page_at(pages, section.start)) for section in sections]
    if as_json:
        rows = [
            {**asdict(section), "page": page.index if page else None, "page_label": page.label if page else ""}
            for section, page in entries
        ]
        terminal.json_line({"sections": rows})
        return
    if not entries:
        terminal.say("this document names no chapters")
    for section, page in entries:
        place = (page.label or str(page.index)) if page else ""
        label = f"{place:>6}  {'  ' * (section.level - 1)}"
        terminal.out(terminal.one_line(section.title), indent=len(label), label=label)


# ------------------------------------------------------------------------------------------------------------- models


def models(found: Sequence[ModelRecord], as_json: bool) -> None:
    """Models at hand."""
    if as_json:
        terminal.json_line({"models": [record.to_json() for record in found]})
        return
    if not found:
        terminal.say("no model at hand; try: mplus model pull mplus-8b")
        return
    rows = [
        (record.name, record.kind, record.mode, size(record.bytes), record.layers, record.width,
         f"lacks {', '.join(record.lacks)}" if record.lacks else "")
        for record in found
    ]  # fmt: skip
    terminal.table(("model", "kind", "mode", "size", "layers", "width", ""), rows, right=("size", "layers", "width"))


def model(record: ModelRecord, as_json: bool) -> None:
    """One model."""
    if as_json:
        terminal.json_line(record.to_json())
        return
    _pairs(
        [
            ("model", record.name),
            ("folder", record.path),
            ("mode", MODES[record.mode]),
            ("size", size(record.bytes)),
            ("layers", record.layers),
            ("width", record.width),
            ("rows a chunk", record.chunk_rows),
            ("from", record.source),
            ("revision", record.revision),
            *(("lacks", words) for words in record.lacks),
        ]
    )


def files(found: Iterable[FileFinding], as_json: bool) -> int:
    """Files of a model, checked; returns how many are not well."""
    bad = 0
    for finding in found:
        bad += not finding.ok
        if as_json:
            terminal.json_line(asdict(finding))
        else:
            terminal.out(f"{finding.file}: {finding.detail}", style="" if finding.ok else "red")
    return bad


def pull(events: Iterable[PullProgress | PullDone], as_json: bool) -> None:
    """A download as it goes, then the model."""
    from mplus_cli.hub import PullDone

    with terminal.byte_bar("fetching") as advance:
        for event in events:
            if isinstance(event, PullDone):
                last = event
            elif as_json:
                terminal.json_line({"event": "progress", **asdict(event)})
            else:
                advance(event.bytes_done, event.bytes_total)
    if not last.fresh:
        terminal.say(f"{last.record.name} is at hand already")
    model(last.record, as_json)


# ------------------------------------------------------------------------------------- plan, doctor, config and bench


def plan(found: Plan, as_json: bool) -> None:
    """What a book will take."""
    if as_json:
        terminal.json_line(found.to_json())
        return
    need = found.bytes
    seconds = float(found.seconds["ingest"])
    about = "" if found.seconds["measured"] else "about "
    _pairs(
        [
            ("title", found.title),
            ("mode", MODES[found.mode]),
            ("pages", f"{found.pages:,}"),
            ("chapters", f"{found.chapters:,}"),
            ("characters", f"{found.characters:,}"),
            ("to read", f"{count(found.tokens, 'token')} in {count(found.chunks, 'chunk')}"),
            ("time", f"{about}{duration(seconds)} at {found.seconds['tokens_per_second']:,.0f} tokens/s"),
            ("disk in all", size(need["total_disk"])),
            ("rows on disk", f"{size(need['rows'])} in {found.row_format}"),
            ("keys on disk", size(need["keys"])),
            ("text on disk", size(need["text"])),
            ("memory", size(need["ram"])),
            ("GPU memory", size(need["vram"]) if need["vram"] else ""),
        ]
    )  # fmt: skip
    for warning in found.warnings:
        terminal.warn(warning)


def checks(found: Iterable[Check], as_json: bool) -> int:
    """Checks of this machine; returns how many failed."""
    rows = list(found)
    if as_json:
        terminal.json_line({"ok": all(row.ok for row in rows), "checks": [row.to_json() for row in rows]})
    else:
        for row in rows:
            label, style = ("ok", "") if row.ok else ("FAIL", "bold red")
            terminal.out(f"{row.name}: {row.detail}", style, indent=6, label=label)
            if row.remedy:
                terminal.out(row.remedy, "dim", indent=6)
    return sum(not row.ok for row in rows)


def config(chosen: Settings, names: Sequence[str], as_json: bool) -> None:
    """Settings with their origins and what each is for."""
    from mplus_cli.settings import help_texts

    texts = help_texts()
    if as_json:
        rows = {name: {"value": getattr(chosen, name), "origin": chosen.origins[name]} for name in names}
        terminal.json_line({"settings": rows})
        return
    table = [(name, getattr(chosen, name), chosen.origins[name], texts[name]) for name in names]
    terminal.table(("setting", "value", "from", ""), table)


def measured(result: dict[str, Any], as_json: bool) -> None:
    """A measurement: a table for people on stderr, one JSON object as the last line of stdout."""
    if not as_json:
        for name, value in result.items():
            terminal.say(f"{name:24} {value:,.1f}" if isinstance(value, float) else f"{name:24} {value}")
    terminal.json_line(result)

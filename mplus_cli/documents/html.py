"""HTML and XHTML pages: text, with headings as sections."""

from __future__ import annotations

from mplus_cli.documents.draft import Draft
from mplus_cli.documents.encoding import decode
from mplus_cli.documents.markup import Flow, name_of, parse_html, parse_markup, write_page
from mplus_cli.documents.package import all_named, text_of
from mplus_cli.documents.source import Source


def read(source: Source) -> Draft:
    """Read a page; Unreadable when its bytes are no text or hold no element."""
    text, warnings = decode(source.content(), source.encoding, markup=True)
    is_xml = text.lstrip().startswith("<?xml") or "http://www.w3.org/1999/xhtml" in text[:2_048]
    root = parse_markup(text) if is_xml else parse_html(text)
    source.deadline.check()
    flow = Flow()
    write_page(flow, root)
    flow.finish()
    heads = [element for head in all_named(root, "head")[:1] for element in head]
    title = next((text_of(element) for element in heads if name_of(element) == "title"), "")
    metas = {(element.get("name") or "").lower(): element.get("content") or "" for element in heads}
    return Draft(
        format="html",
        text=flow.text,
        title=title or next((heading.title for heading in flow.headings), ""),
        author=metas.get("author") or metas.get("dc.creator") or "",
        language=root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang") or "",
        headings=flow.headings,
        warnings=warnings,
    )

"""Small books, sound and broken, made in memory."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence

CONTAINER = """<?xml version="1.0"?>
<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>
<rootfile full-path="EPUB/package.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
XHTML = """<?xml version="1.0" encoding="utf-8"?>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">
<head><title>never shown</title></head><body>{}</body></html>"""
NAV = XHTML.format('<nav epub:type="toc"><ol>{}</ol></nav>{}')
PROSE = "It was a bright cold day in the valley, and the clocks of the village were striking one. "


def zip_of(entries: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of these entries, in this order."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def package(items: str, spine: str, metadata: str = "<dc:title>A Small Book</dc:title>") -> str:
    return f"""<?xml version="1.0"?>
<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/" version="3.0">
<metadata>{metadata}</metadata><manifest>{items}</manifest><spine toc="ncx">{spine}</spine></package>"""


def page_item(name: str, properties: str = "") -> str:
    return (
        f'<item id="{name}" href="{name}.xhtml" media-type="application/xhtml+xml"'
        + (f' properties="{properties}"' if properties else "")
        + "/>"
    )


def epub_entries(
    chapters: Sequence[str],
    nav: str | None = None,
    ncx: str | None = None,
    metadata: str = "<dc:title>A Small Book</dc:title><dc:creator>Ann Other</dc:creator><dc:language>en</dc:language>",
    after_nav: str = "",
) -> dict[str, str | bytes]:
    """The entries of an EPUB whose chapters are the bodies of c1.xhtml, c2.xhtml and so on."""
    names = [f"c{number}" for number in range(1, len(chapters) + 1)]
    items = "".join(page_item(name) for name in names)
    entries: dict[str, str | bytes] = {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER}
    if nav is not None:
        items += page_item("nav", "nav")
        entries["EPUB/nav.xhtml"] = NAV.format(nav, after_nav)
    if ncx is not None:
        items += '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
        entries["EPUB/toc.ncx"] = ncx
    entries["EPUB/package.opf"] = package(items, "".join(f'<itemref idref="{name}"/>' for name in names), metadata)
    entries |= {f"EPUB/{name}.xhtml": XHTML.format(body) for name, body in zip(names, chapters, strict=True)}
    return entries


def epub(*chapters: str, **more: str) -> bytes:
    return zip_of(epub_entries(chapters, **more))


def nav_line(href: str, title: str, inner: str = "") -> str:
    return f'<li><a href="{href}">{title}</a>{f"<ol>{inner}</ol>" if inner else ""}</li>'


def pdf_of(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """A PDF of these objects, the first being the catalogue."""
    out, places = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return (
        out
        + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
        + b"trailer\n<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, len(out))
    )


def stream(content: bytes, packed: bool = False) -> bytes:
    data = zlib.compress(content, 9) if packed else content
    kind = b"/Filter/FlateDecode" if packed else b""
    return b"<</Length %d%s>>\nstream\n%s\nendstream" % (len(data), kind, data)


def text_stream(lines: Sequence[tuple[int, int, str]], size: int = 12) -> bytes:
    """Page content: lines at x and y in points, in Latin-1."""
    parts = [b"BT /F1 %d Tf" % size]
    for x, y, words in lines:
        escaped = words.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").encode("latin-1")
        parts.append(b"1 0 0 1 %d %d Tm (%s) Tj" % (x, y, escaped))
    return stream(b"\n".join([*parts, b"ET"]))


def column(text: str, top: int = 700, width: int = 60, left: int = 72) -> list[tuple[int, int, str]]:
    """A paragraph set line by line at a fixed number of characters."""
    words, lines = text.split(), [""]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [(left, top - 14 * number, line) for number, line in enumerate(lines)]


def pdf(contents: Sequence[bytes], catalogue: bytes = b"", more: Sequence[bytes] = (), trailer: bytes = b"") -> bytes:
    """A PDF of pages with these content streams; page n (from 0) is object 4 + 2n, `more` follows the last."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(contents)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R%s>>" % catalogue,
        b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(contents), kids),
        b"<</Type/Font/Subtype/Type1/BaseFont/Courier/Encoding/WinAnsiEncoding>>",
    ]
    for number, content in enumerate(contents):
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R>>"
            % (5 + 2 * number)
        )
        objects.append(content)
    return pdf_of([*objects, *more], trailer)


def pdf_of_texts(*texts: str) -> bytes:
    """A PDF with one paragraph on each page."""
    return pdf([text_stream(column(text)) for text in texts])


def image_page() -> bytes:
    """Page content: one inline picture and no text."""
    return stream(b"q 100 0 0 100 72 600 cm BI /W 2 /H 2 /CS /G /BPC 8 ID \x00\xff\xff\x00 EI Q")

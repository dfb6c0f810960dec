"""EPUB: order, chapters, pages, and what is read of broken books."""

from __future__ import annotations

from pathlib import Path

import pytest
from document_books import (
    CONTAINER,
    PROSE,
    XHTML,
    epub,
    epub_entries,
    nav_line,
    package,
    page_item,
    zip_of,
)
from document_laws import check_laws

from mplus_cli.documents import Document, page_at, read, section_at
from mplus_cli.errors import Unreadable


def read_epub(data: bytes) -> Document:
    document = read(data, name="book.epub")
    check_laws(document)
    return document


def titles(document: Document) -> list[tuple[str, int, str]]:
    """Title, level and first words of each section."""
    return [(s.title, s.level, document.text[s.start : s.start + 5]) for s in document.sections]


def test_text_follows_the_spine_and_not_the_manifest() -> None:
    entries = epub_entries(["<p>first</p>", "<p>second</p>"])
    entries["EPUB/package.opf"] = package(
        page_item("c1") + page_item("c2"), '<itemref idref="c2"/><itemref idref="c1"/>'
    )
    assert read_epub(zip_of(entries)).text == "second\n\nfirst"


def test_what_is_not_linear_and_the_navigation_are_not_text() -> None:
    entries = epub_entries(["<p>told</p>", "<p>aside</p>"], nav=nav_line("c1.xhtml", "One"))
    items = page_item("c1") + page_item("c2") + page_item("nav", "nav")
    spine = '<itemref idref="nav"/><itemref idref="c1"/><itemref idref="c2" linear="no"/>'
    entries["EPUB/package.opf"] = package(items, spine)
    assert read_epub(zip_of(entries)).text == "told"


def test_a_book_in_the_navigation_document_itself_is_read_without_its_lists() -> None:
    body = f'<h1 id="a">Start</h1><p>{PROSE * 5}</p>'
    entries = epub_entries([], nav=nav_line("#a", "Start"), after_nav=body)
    entries["EPUB/package.opf"] = package(page_item("nav", "nav"), '<itemref idref="nav"/>')
    document = read_epub(zip_of(entries))
    assert document.text.startswith("Start\n\nIt was a bright")
    assert document.text.count("Start") == 1


def test_chapters_of_the_contents_stand_where_their_elements_stand() -> None:
    chapters = ['<p>before</p><h2 id="one">Alpha</h2><p>aaaa</p>', '<h2 id="two">Beta</h2><p>bbbb</p>']
    inner = nav_line("c1.xhtml#one", "One") + nav_line("c2.xhtml#two", "Two")
    document = read_epub(epub(*chapters, nav=nav_line("c1.xhtml", "Part", inner)))
    assert titles(document) == [("Part", 1, "befor"), ("One", 2, "Alpha"), ("Two", 2, "Beta\n")]
    found = section_at(document.sections, document.text.index("aaaa"))
    assert found is not None
    assert found.title == "One"


def test_a_part_that_is_no_link_starts_with_its_first_chapter() -> None:
    nav = f"<li><span>Book I</span><ol>{nav_line('c2.xhtml', 'Chapter 1')}</ol></li>"
    document = read_epub(epub("<p>front</p>", "<p>story</p>", nav=nav))
    assert titles(document) == [("Book I", 1, "story"), ("Chapter 1", 2, "story")]


def test_an_ncx_gives_chapters_and_pages_when_there_is_no_navigation_document() -> None:
    ncx = """<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap>
    <navPoint><navLabel><text>Outer</text></navLabel><content src="c1.xhtml"/>
      <navPoint><navLabel><text>Inner</text></navLabel><content src="c1.xhtml#i"/></navPoint></navPoint></navMap>
    <pageList><pageTarget><navLabel><text>7</text></navLabel><content src="c1.xhtml#p7"/></pageTarget>
    <pageTarget value="8"><content src="c1.xhtml#p8"/></pageTarget></pageList></ncx>"""
    body = '<p id="p7">start</p><p id="i">inner</p><p><a id="p8"/>eight</p>'
    document = read_epub(epub(body, ncx=ncx))
    assert titles(document) == [("Outer", 1, "start"), ("Inner", 2, "inner")]
    assert document.page_kind == "page-list"
    assert [(page.label, document.text[page.start : page.end].strip()) for page in document.pages] == [
        ("7", "start\n\ninner"),
        ("8", "eight"),
    ]


def test_headings_are_the_chapters_when_contents_are_missing_or_lead_nowhere() -> None:
    body = "<h1>Alpha</h1><p>aaa</p><h2>Deep</h2><p>bbb</p>"
    expected = [("Alpha", 1, "Alpha"), ("Deep", 2, "Deep\n")]
    assert titles(read_epub(epub(body))) == expected
    assert titles(read_epub(epub(body, nav=nav_line("gone.xhtml", "Lost")))) == expected


def test_printed_page_marks_in_the_text_give_the_pages() -> None:
    body = (
        '<p>front</p><p><span epub:type="pagebreak" id="p1" title="1"/>one '
        '<span role="doc-pagebreak" id="p2" aria-label=" Page 2. "></span>two</p>'
    )
    document = read_epub(epub(body))
    assert document.text == "front\n\none two"
    assert [(page.label, page.index) for page in document.pages] == [("before 1", 1), ("1", 2), ("2", 3)]
    found = page_at(document.pages, document.text.index("two"))
    assert found is not None
    assert found.label == "2"


def test_a_page_list_wins_over_marks_and_locations_are_the_last_resort() -> None:
    nav = nav_line("c1.xhtml", "One") + '</ol></nav><nav epub:type="page-list"><ol>' + nav_line("c1.xhtml#b", "xii")
    body = '<p>a</p><p id="b"><span epub:type="pagebreak" title="99"/>b</p>'
    assert [page.label for page in read_epub(epub(body, nav=nav)).pages] == ["before xii", "xii"]
    plain = read_epub(epub(f"<p>{PROSE * 50}</p>"))
    assert plain.page_kind == "location"
    assert [page.start for page in plain.pages[:3]] == [0, 1800, 3600]


def test_the_main_title_all_authors_and_the_language_are_taken() -> None:
    metadata = """<dc:title id="s">A Subtitle</dc:title><dc:title id="m">The Main One</dc:title>
    <meta refines="#m" property="title-type">main</meta><dc:creator>Ann</dc:creator><dc:creator id="b">Bob</dc:creator>
    <dc:creator id="i">Ida</dc:creator><meta refines="#i" property="role">ill</meta><dc:language>fr</dc:language>"""
    document = read_epub(epub("<p>x</p>", metadata=metadata))
    assert (document.title, document.author, document.language) == ("The Main One", "Ann, Bob", "fr")


def test_the_first_of_several_renditions_is_read() -> None:
    entries = epub_entries(["<p>text</p>"])
    second = '<rootfile full-path="B/b.opf" media-type="application/oebps-package+xml"/></rootfiles>'
    entries["META-INF/container.xml"] = CONTAINER.replace("</rootfiles>", second)
    entries["B/b.opf"] = package("", "")
    assert read_epub(zip_of(entries)).text == "text"


def test_pictures_in_the_spine_are_replaced_by_their_fallback() -> None:
    items = '<item id="i" href="i.png" media-type="image/png" fallback="c1"/>' + page_item("c1")
    entries = epub_entries(["<p>in words</p>"]) | {"EPUB/package.opf": package(items, '<itemref idref="i"/>')}
    assert read_epub(zip_of(entries)).text == "in words"


def test_the_words_of_an_svg_page_are_text() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><title>no</title><text>seen</text><text>also</text></svg>'
    entries = epub_entries([]) | {
        "EPUB/package.opf": package('<item id="s" href="s.svg" media-type="image/svg+xml"/>', '<itemref idref="s"/>'),
        "EPUB/s.svg": svg,
    }
    assert read_epub(zip_of(entries)).text == "seen\n\nalso"


# Broken books whose text is there.


def test_a_chapter_with_a_bad_checksum_is_named_and_the_others_are_read() -> None:
    good, bad = f"<p>{PROSE}</p>", "<p>unmistakable words</p>"
    data = bytearray(zip_of(epub_entries([good, bad, good]), method=0))
    data[data.index(b"unmistakable")] ^= 0xFF
    document = read_epub(bytes(data))
    assert document.text == f"{PROSE.strip()}\n\n{PROSE.strip()}"
    assert [skipped.where for skipped in document.skipped] == ["chapter file 2 of 3 (c2.xhtml)"]
    assert "damaged" in document.skipped[0].reason
    assert document.pages_total == document.pages_read + 1


def test_a_missing_chapter_is_named_and_the_others_are_read() -> None:
    entries = epub_entries(["<p>one</p>", "<p>two</p>"])
    del entries["EPUB/c1.xhtml"]
    document = read_epub(zip_of(entries))
    assert document.text == "two"
    assert document.skipped[0].reason == "missing from the archive"


@pytest.mark.parametrize("mimetype", [None, "text/plain", " application/epub+zip \n"])
def test_the_mimetype_entry_does_not_matter(mimetype: str | None) -> None:
    entries = epub_entries(["<p>text</p>"])
    if mimetype is None:
        del entries["mimetype"]
    else:
        entries["mimetype"] = mimetype
    assert read(zip_of(entries)).text == "text"


def test_a_chapter_that_is_not_well_formed_is_read_as_browsers_read_it() -> None:
    body = '<p>one<br>two & three<p>four<a id="x"/>five <b>six</p><title/>seven'
    assert read_epub(epub(body)).text == "one\ntwo & three\n\nfourfive six\n\nseven"


def test_named_entities_of_html_work_with_and_without_a_doctype() -> None:
    doctype = '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" "http://www.w3.org/TR/xhtml11/DTD/xhtml11.dtd">'
    entries = epub_entries(["<p>a&nbsp;b &mdash; caf&eacute; &amp; &lt;tea&gt;</p>"])
    assert read_epub(zip_of(entries)).text == "a b — café & <tea>"
    entries["EPUB/c1.xhtml"] = str(entries["EPUB/c1.xhtml"]).replace("<html", doctype + "<html")
    assert read_epub(zip_of(entries)).text == "a b — café & <tea>"


def test_a_package_without_a_spine_is_read_in_the_order_of_its_manifest() -> None:
    entries = epub_entries(["<p>one</p>", "<p>two</p>"])
    entries["EPUB/package.opf"] = package(page_item("c1") + page_item("c2"), "")
    document = read_epub(zip_of(entries))
    assert document.text == "one\n\ntwo"
    assert any("reading order" in warning for warning in document.warnings)


def test_a_container_that_names_nothing_falls_back_to_the_package_that_is_there() -> None:
    entries = epub_entries(["<p>one</p>"]) | {"META-INF/container.xml": CONTAINER.replace("package.opf", "gone.opf")}
    document = read_epub(zip_of(entries))
    assert document.text == "one"
    assert any("EPUB/package.opf was taken" in warning for warning in document.warnings)


def test_a_file_named_twice_in_the_spine_is_read_once() -> None:
    entries = epub_entries(["<p>one</p>"])
    entries["EPUB/package.opf"] = package(page_item("c1"), '<itemref idref="c1"/>' * 3)
    assert read_epub(zip_of(entries)).text == "one"


def test_references_may_differ_in_case_and_unicode_form() -> None:
    entries = epub_entries([])
    entries["EPUB/package.opf"] = package(
        '<item id="a" href="Cafe%CC%81.XHTML" media-type="application/xhtml+xml"/>', '<itemref idref="a"/>'
    )
    entries["EPUB/caf\u00e9.xhtml"] = XHTML.format("<p>found</p>")
    assert read_epub(zip_of(entries)).text == "found"


# Books that cannot be read.


def refused(data: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as problem:
        read(data, name="book.epub")
    assert problem.value.message.startswith("book.epub: ")
    assert "\n" not in problem.value.message
    return problem.value


def test_no_container_is_no_epub() -> None:
    entries = epub_entries(["<p>one</p>"])
    del entries["META-INF/container.xml"]
    assert "container.xml is missing" in refused(zip_of(entries)).message


def test_a_picture_named_epub_is_refused() -> None:
    assert "a PNG picture" in refused(b"\x89PNG\r\n\x1a\n").message
    assert "zip" in refused(b"PK\x03\x04" + b"\x00" * 100).message


def test_a_book_of_pictures_says_so() -> None:
    assert "only pictures" in refused(epub('<img src="a.png" alt=""/>')).message


ENCRYPTION = """<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"
 xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData><enc:EncryptionMethod Algorithm="{}"/>
 <enc:CipherData><enc:CipherReference URI="{}"/></enc:CipherData></enc:EncryptedData></encryption>"""
AES = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
SCRAMBLED_FONT = "http://www.idpf.org/2008/embedding"


def test_copy_protected_chapters_are_refused_as_encrypted() -> None:
    entries = epub_entries(["<p>one</p>"]) | {"META-INF/encryption.xml": ENCRYPTION.format(AES, "EPUB/c1.xhtml")}
    problem = refused(zip_of(entries))
    assert "encrypted" in problem.message
    assert "copy-protected" in problem.remedy


@pytest.mark.parametrize(("method", "file"), [(SCRAMBLED_FONT, "EPUB/f.otf"), (AES, "EPUB/video.mp4")])
def test_encrypted_fonts_and_media_do_not_matter(method: str, file: str) -> None:
    entries = epub_entries(["<p>one</p>"]) | {"META-INF/encryption.xml": ENCRYPTION.format(method, file)}
    assert read_epub(zip_of(entries)).text == "one"


def test_books_written_by_ebooklib_are_read(tmp_path: Path) -> None:
    """Another program's idea of an EPUB, as a check on our own."""
    from ebooklib import epub as writer

    book = writer.EpubBook()
    book.set_title("Written Elsewhere")
    book.set_language("de")
    book.add_author("Ann Other")
    chapters = [writer.EpubHtml(title=f"Kapitel {n}", file_name=f"k{n}.xhtml") for n in (1, 2)]
    for chapter in chapters:
        chapter.content = f"<h1>{chapter.title}</h1><p>{PROSE}</p>"
        book.add_item(chapter)
    book.toc = tuple(chapters)
    book.spine = ["nav", *chapters]
    book.add_item(writer.EpubNcx())
    book.add_item(writer.EpubNav())
    writer.write_epub(tmp_path / "b.epub", book)
    document = read(tmp_path / "b.epub")
    check_laws(document)
    assert (document.title, document.author, document.language) == ("Written Elsewhere", "Ann Other", "de")
    assert titles(document) == [("Kapitel 1", 1, "Kapit"), ("Kapitel 2", 1, "Kapit")]
    assert document.text.count("Kapitel") == 2

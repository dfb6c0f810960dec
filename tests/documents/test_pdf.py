"""PDF: paragraphs, pages, labels, outline, passwords, and pages without text."""

from __future__ import annotations

import io

import pypdf
import pytest
from document_books import PROSE, column, image_page, pdf, pdf_of_texts, text_stream
from document_laws import check_laws

from mplus_cli.documents import Document, read
from mplus_cli.documents.pdf_furniture import without_furniture
from mplus_cli.documents.pdf_layout import Line, mended, page_paragraphs, vocabulary
from mplus_cli.documents.quality import listed
from mplus_cli.errors import Unreadable

LONG = PROSE * 4


def read_pdf(data: bytes, password: str | None = None) -> Document:
    document = read(data, name="book.pdf", password=password)
    check_laws(document)
    return document


def refused(data: bytes, password: str | None = None) -> Unreadable:
    with pytest.raises(Unreadable) as problem:
        read(data, name="book.pdf", password=password)
    return problem.value


def locked(password: str) -> bytes:
    """A PDF that wants a password ("" opens by itself, as many do)."""
    writer = pypdf.PdfWriter(io.BytesIO(pdf_of_texts(LONG)))
    writer.encrypt(password, "owner", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def test_lines_become_paragraphs_and_pages_keep_their_place() -> None:
    lines = [*column(LONG, 700), *column("Another paragraph, indented. " * 6, 560)]
    document = read_pdf(pdf([text_stream(lines), text_stream(column(PROSE))]))
    assert document.text == f"{LONG.strip()}\n\n{('Another paragraph, indented. ' * 6).strip()}\n\n{PROSE.strip()}"
    assert [page.label for page in document.pages] == ["1", "2"]
    assert document.text[document.pages[1].start :] == PROSE.strip()
    assert (document.page_kind, document.pages_read, document.pages_total) == ("index", 2, 2)


def test_a_sentence_that_crosses_the_page_reads_on() -> None:
    words = (LONG + "and").split()
    document = read_pdf(pdf_of_texts(" ".join(words), f"then it ended. {LONG}"))
    assert "one. and then it ended." in document.text
    assert document.text[document.pages[1].start :].startswith("then it ended")


def test_printed_labels_are_used_where_they_differ_from_the_index() -> None:
    labels = b"/PageLabels<</Nums[0<</S/r>>2<</S/D/St 1>>]>>"
    pages = [text_stream(column(LONG))] * 3
    document = read_pdf(pdf(pages, catalogue=labels))
    assert document.page_kind == "label"
    assert [(page.index, page.label) for page in document.pages] == [(1, "i"), (2, "ii"), (3, "1")]
    plain = read_pdf(pdf(pages, catalogue=b"/PageLabels<</Nums[0<</S/D>>]>>"))
    assert plain.page_kind == "index"


def test_the_outline_gives_sections_where_their_titles_stand() -> None:
    first = [*column(LONG, 700), (72, 600, "The Second Half"), *column(LONG, 570)]
    outline = [
        b"<</Type/Outlines/First 9 0 R/Last 10 0 R/Count 2>>",
        b"<</Title(Start)/Parent 8 0 R/Next 10 0 R/Dest[4 0 R/Fit]>>",
        b"<</Title(THE SECOND  HALF)/Parent 8 0 R/Prev 9 0 R/Dest[4 0 R/Fit]/First 11 0 R/Last 11 0 R/Count 1>>",
        b"<</Title(Inner)/Parent 10 0 R/Dest[6 0 R/Fit]>>",
    ]
    contents = [text_stream(first), text_stream(column(LONG))]
    document = read_pdf(pdf(contents, catalogue=b"/Outlines 8 0 R", more=outline))
    found = [(section.title, section.level, document.text[section.start :][:10]) for section in document.sections]
    assert found == [("Start", 1, "It was a b"), ("THE SECOND HALF", 1, "The Second"), ("Inner", 2, "It was a b")]
    assert document.sections[2].start == document.pages[1].start


def test_title_and_author_come_from_the_file_unless_they_are_a_file_name() -> None:
    info = b"/Info 6 0 R"
    named = pdf([text_stream(column(LONG))], more=[b"<</Title(A Book)/Author(Ann)>>"], trailer=info)
    assert (read_pdf(named).title, read_pdf(named).author) == ("A Book", "Ann")
    junk = pdf([text_stream(column(LONG))], more=[b"<</Title(Microsoft Word - draft7.doc)>>"], trailer=info)
    assert read_pdf(junk).title == "book"


def test_large_letters_head_sections_where_there_is_no_outline() -> None:
    big = text_stream([(72, 720, "A Large Title")], size=24)
    page = big.replace(b"ET", b"ET BT /F1 10 Tf ET").replace(b"\nendstream", b"")
    body = text_stream(column(LONG, 680), size=10)
    content = page.split(b"stream\n", 1)[1] + b"\n" + body.split(b"stream\n", 1)[1].rsplit(b"\nendstream", 1)[0]
    document = read_pdf(pdf([b"<</Length %d>>\nstream\n%s\nendstream" % (len(content), content)]))
    assert [section.title for section in document.sections] == ["A Large Title"]
    assert document.title == "A Large Title"


# Refusals


def test_scanned_pages_are_refused_with_the_remedy() -> None:
    problem = refused(pdf([image_page()] * 3))
    assert problem.message == "book.pdf: 3 pages, all images: no text layer"
    assert "OCR" in problem.remedy


def test_images_among_pages_of_text_are_named() -> None:
    document = read_pdf(pdf([text_stream(column(LONG)), image_page(), text_stream(column(LONG))]))
    assert document.warnings == ("1 of 3 pages are images without text: 2",)
    assert document.pages[1].start == document.pages[1].end == document.pages[2].start


def test_empty_pages_are_no_success() -> None:
    assert "without any text" in refused(pdf([text_stream([])])).message


def test_a_password_opens_what_it_locks() -> None:
    problem = refused(locked("sesame"))
    assert "encrypted: it needs a password" in problem.message
    assert "--password" in problem.remedy
    assert "does not open" in refused(locked("sesame"), "wrong").message
    assert read_pdf(locked("sesame"), "sesame").text == LONG.strip()
    assert read_pdf(locked("")).text == LONG.strip()


def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    data = pdf_of_texts(LONG, LONG)
    document = read_pdf(data[: data.rindex(b"xref")])
    assert document.text.startswith("It was a bright cold day")


# Layout


def line(text: str, left: float, bottom: float, right: float, height: float = 10) -> Line:
    return Line(text, left, bottom, right, bottom, height)


def test_columns_follow_each_other_and_a_paragraph_crosses_them() -> None:
    left = [line("The left column has lines and", 50, 700 - 12 * n, 250) for n in range(3)]
    right = [line("goes on in the right column", 300, 700 - 12 * n, 500) for n in range(3)]
    found = page_paragraphs([*left, *right])
    assert len(found) == 1
    assert found[0].text.count("and goes on") == 1


def test_indented_lines_start_paragraphs_and_wide_gaps_do_too() -> None:
    lines = [
        line("A first full line of some words", 50, 700, 250),
        line("that ends.", 50, 688, 110),
        line("An indented one starts here and", 62, 676, 250),
        line("goes on to the right edge, again.", 50, 664, 250),
        line("After a gap comes the next one", 50, 630, 250),
    ]
    assert [paragraph.text[:8] for paragraph in page_paragraphs(lines)] == ["A first ", "An inden", "After a "]


def test_cut_words_are_mended_as_the_book_writes_them() -> None:
    words = vocabulary(["the example", "a well-known man", "free", "software", "free", "software"])
    assert mended("exam\ufffeple", words) == "example"
    assert mended("well\ufffeknown", words) == "well-known"
    assert mended("free\ufffesoftware", words) == "free-software"
    assert mended("strange\ufffely", words) == "strangely"
    assert mended("1914\ufffe18", words) == "1914-18"


def book_pages(heads: list[str], body: int = 6) -> dict[int, list[Line]]:
    return {
        page: [
            line(head, 50, 760, 200),
            *(line(f"{chr(97 + page) * 9} {PROSE} {n}", 50, 700 - 12 * n, 400) for n in range(body)),
            line(str(page + 17), 220 + page % 2, 40, 230),
        ]
        for page, head in enumerate(heads)
    }


def test_running_heads_and_folios_go_and_chapter_headings_stay() -> None:
    heads = ["FREE CULTURE", "Introduction 18", "FREE CULTURE", "Creators 20", "FREE CULTURE", "Pirates 22"]
    left = without_furniture(book_pages(heads))
    assert {len(lines) for lines in left.values()} == {6}
    chapters = without_furniture(book_pages([f"Chapter {n}" for n in (3, 9, 11, 20, 21)]))
    assert {lines[0].text[:7] for lines in chapters.values()} == {"Chapter"}


def test_marks_at_the_same_place_on_many_pages_go() -> None:
    pages = book_pages(["A", "B", "C", "D", "E"])
    for lines in pages.values():
        lines.insert(3, line("4TH PASS PAGES", 300, 400.2 + lines[-1].left % 2, 380))
    assert not [item for lines in without_furniture(pages).values() for item in lines if "PASS" in item.text]


def test_a_book_of_one_repeated_line_keeps_it() -> None:
    pages = {page: [line("Hello world", 50, 700, 120)] for page in range(5)}
    assert without_furniture(pages) == pages


def test_long_lists_of_pages_are_cut_short() -> None:
    assert listed(list(range(12))) == "1, 2, 3, 4, 5, 6, 7, 8 and 4 more"
    assert listed(["ix", "x"]) == "ix, x"

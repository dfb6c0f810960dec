"""The one way in: formats by content, inputs of a command line, and one clear sentence for what is refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from document_books import epub, pdf_of_texts, zip_of

from mplus_cli.documents import expand, read
from mplus_cli.errors import Unreadable

SENTENCE = "These are enough words for a file of its own, and then some more of them."


def test_content_decides_before_the_name() -> None:
    assert read(epub("<p>a</p>"), name="x.txt").format == "epub"
    assert read(pdf_of_texts(SENTENCE), name="x.epub").format == "pdf"
    assert read(b"\n<!-- c --><!DOCTYPE html><p>a", name="x.md").format == "html"
    assert read(b"# a\n", name="x.md").format == "markdown"
    assert read(b"# a\n", name="x").format == "text"


def test_streams_and_bytes_are_read_like_files(tmp_path: Path) -> None:
    file = tmp_path / "a b.txt"
    file.write_text(SENTENCE)
    from_file, from_stream = read(file), read(io.BytesIO(SENTENCE.encode()), name="a b.txt")
    assert from_file == from_stream
    assert (from_file.title, from_file.source) == ("a b", "a b.txt")
    assert read(str(file)) == from_file


def test_standard_input_is_read_and_sniffed() -> None:
    program = "from mplus_cli.documents import read; d = read('-'); print(d.format, d.source, len(d.text))"
    root = str(Path(__file__).parents[2])
    for data, words in (
        (epub("<p>abc</p>"), b"epub standard input 3"),
        (pdf_of_texts("abcd"), b"pdf standard input 4"),
    ):
        done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, cwd=root, check=True)
        assert done.stdout.strip() == words


def test_a_pipe_given_as_a_path_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'w').write({SENTENCE!r})"]):
        assert read(pipe).text == SENTENCE


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"\x89PNG\r\n\x1a\n", "a.png", "a PNG picture"),
        (b"\x1f\x8b\x08", "a.gz", "a gzip file"),
        (b"\x00" * 60 + b"BOOKMOBI" + b"\x00" * 60, "a.mobi", "Kindle"),
        (b"{\\rtf1 hello}", "a.rtf", "an RTF document"),
        (zip_of({"word/document.xml": "<w/>"}), "a.docx", "a Word document"),
        (zip_of({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": ""}), "a.odt", "OpenDocument"),
        (zip_of({"a.txt": "x"}), "a.zip", "a zip archive"),
        (b"PK\x03\x04broken", "a.zip", "a damaged zip archive"),
        (b"x = 1\n", "a.py", "unknown file type '.py'"),
        (b"", "a.txt", "empty"),
        (b" \n\t ", "a.txt", "no text"),
        (b"not a pdf", "a.pdf", "cannot be opened as a PDF"),
        (b"not a zip", "a.epub", "not a readable zip archive"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_sentence(content: bytes, name: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(Unreadable) as problem:
        read(file)
    assert words in problem.value.message
    assert problem.value.message.startswith(f"{name}: ")
    assert "\n" not in problem.value.message + problem.value.remedy
    assert problem.value.exit_code == 4


def test_missing_files_folders_and_locked_files_are_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"gone\.txt: no such file"):
        read(tmp_path / "gone.txt")
    with pytest.raises(Unreadable, match="a folder without files"):
        read(tmp_path)


def test_folders_give_known_files_below_them_in_natural_order(tmp_path: Path) -> None:
    for name in ("b10.txt", "b2.txt", "sub/c1.epub", "a.PDF", "image.png", ".hidden.txt", ".git/x.md", "notes.md"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)
    names = ["a.PDF", "b2.txt", "b10.txt", "notes.md", "sub/c1.epub"]
    assert expand([tmp_path]) == [tmp_path / name for name in names]


def test_inputs_keep_their_order_and_come_once(tmp_path: Path) -> None:
    for name in ("1.txt", "2.txt", "10.txt", "3.png"):
        (tmp_path / name).write_bytes(b"x")
    one, two, ten, picture = (tmp_path / name for name in ("1.txt", "2.txt", "10.txt", "3.png"))
    assert expand([two, "-", str(tmp_path / "*"), two, "-"]) == [two, "-", one, ten]
    assert expand([str(tmp_path / "**" / "1*.txt")]) == [one, ten]
    assert expand([picture, tmp_path / "gone.txt"]) == [picture, tmp_path / "gone.txt"]  # `read` says what is wrong


def test_an_empty_folder_and_a_pattern_without_files_are_refused_by_read(tmp_path: Path) -> None:
    for given in (tmp_path, tmp_path / "*.epub"):
        with pytest.raises(Unreadable):
            read(expand([given])[0])


def test_importing_this_room_loads_no_parser() -> None:
    heavy = "torch", "lxml", "pypdf", "pypdfium2", "ebooklib", "charset_normalizer"
    program = f"import sys, mplus_cli.documents; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Markup to text: what a reader of the page would read, in lines and paragraphs, with every id in its place."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mplus_cli.documents.markup import Flow, page_label, parse_html, parse_markup, write_page


def flow_of(body: str, parse: object = None) -> Flow:
    flow = Flow()
    page = f'<html xmlns:epub="http://www.idpf.org/2007/ops"><body>{body}</body></html>'
    write_page(flow, parse_html(page) if parse else parse_markup(page))
    flow.finish()
    return flow


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("<p>a\n   b\t c</p>", "a b c"),
        ("<p>a <i>b</i>, <b> c</b></p>", "a b, c"),
        ("<p>a<br/>b</p>", "a\nb"),
        ("<div>a<div>b</div>c</div>", "a\n\nb\n\nc"),
        ("a<p>b</p>c", "a\n\nb\n\nc"),
        ("<p>x</p><script>no</script><style>no</style><p>y</p>", "x\n\ny"),
        ("<p>x<!-- no -->y<?pi no?>z</p>", "xyz"),
        ("<p hidden='hidden'>no</p>yes", "yes"),
        ("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字<rt>じ</rt></ruby>", "漢字"),
        ("<ul><li>a</li><li>b<ol><li>c</li><li>d</li></ol></li></ul>", "- a\n- b\n\n1. c\n2. d"),
        ("<ol start='4'><li><p>a</p></li><li></li><li>c</li></ol>", "4. a\n\n6. c"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a | b\n1 | 2"),
        ("<table><tr><td></td><td>1</td></tr><tr><td><p>2</p></td><td>3</td></tr></table>", "1\n2 | 3"),
        ("<pre>if x:\n    y\n\n\n\nz</pre>after", "if x:\n    y\n\nz\n\nafter"),
        ("<pre>\n<b>def</b> f:\n    <i>return</i> 1\n\n</pre>", "def f:\n    return 1"),
        ("<p>10<sup>6</sup> and m<sup>2</sup></p>", "10^6 and m2"),
        ("<p>said.<a epub:type='noteref' href='#n'>1</a> Then</p>", "said.[1] Then"),
        ("<p>note <a role='doc-backlink'>back</a></p>", "note"),
        ("<p>a&#160;b\u2009c\u3000d</p>", "a b c d"),
        ("<math><mi>x</mi><mo>=</mo><annotation>TeX</annotation></math>", "x="),
    ],
)
def test_markup_reads_as_text(body: str, text: str) -> None:
    assert flow_of(body).text == text


def test_ids_stand_where_the_next_text_stands() -> None:
    flow = flow_of('<p>a</p><div id="d"><p><span id="s"/>bc</p></div><a name="n">d</a><p id="end"/>')
    assert {name: flow.text[place:] for (_, name), place in flow.anchors.items()} == {
        "d": "bc\n\nd",
        "s": "bc\n\nd",
        "n": "d",
        "end": "",
    }


def test_headings_know_their_words_level_and_place() -> None:
    flow = flow_of("<h1>One\n <i>and</i> a half</h1><p>x</p><h3><img src='x'/></h3><h2>Two</h2>")
    assert [(h.title, h.level, flow.text[h.position : h.position + 3]) for h in flow.headings] == [
        ("One and a half", 1, "One"),
        ("Two", 2, "Two"),
    ]


@pytest.mark.parametrize(
    ("mark", "label"),
    [
        ('<span title="12"/>', "12"),
        ('<span aria-label="Page xii."/>', "xii"),
        ('<span id="page_7"/>', "7"),
        ("<span>[p. 30]</span>", "30"),
        ('<span title="Plate 2"/>', "Plate 2"),
        ("<span/>", ""),
    ],
)
def test_page_labels_are_the_printed_number(mark: str, label: str) -> None:
    element = next(iter(parse_markup(f"<html><body>{mark}</body></html>").iter("span")))
    assert page_label(element) == label


TAGS = st.sampled_from(
    ["p", "div", "span", "b", "li", "ul", "ol", "td", "tr", "table", "h1", "pre", "sup", "ruby", "rt"]
)


@given(
    st.recursive(
        st.text("ab \n", max_size=6), lambda inner: st.tuples(TAGS, st.lists(inner, max_size=4)), max_leaves=25
    )
)
def test_letters_survive_and_gaps_stay_small(tree: object) -> None:
    def markup(node: object) -> str:
        if isinstance(node, str):
            return node
        name, children = node  # type: ignore[misc]
        return f"<{name}>{''.join(map(markup, children))}</{name}>"

    body = markup(tree)
    flow = flow_of(body)
    if "<rt>" not in body:
        assert re.sub(r"[^ab]", "", flow.text) == re.sub(r"<[^>]*>|\s", "", body)
    assert "\n\n\n" not in flow.text
    assert flow.length == len(flow.text)

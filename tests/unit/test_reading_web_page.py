"""HTML becomes its main text, under its headings, without navigation."""

from pathlib import Path

import pytest

from tests.unit.files_to_read import document_of, reading_of, texts_of

OPENING = "Bees tell each other where the flowers are by dancing, and the length of a dance is the length of the way. "
PAGE = f"""<!doctype html><html><head><title>Bees | The insect house</title><style>p {{ color: red }}</style></head>
<body><nav><ul><li><a href="/">Home</a></li><li><a href="/ants">Ants</a></li></ul></nav>
<header><p>The insect house</p></header>
<main><article><h1>Bees</h1><p>{OPENING * 2}</p>
<h2>How they <em>dance</em></h2><p>In a figure of eight. The middle run points to the flowers, and the bee
waggles on it.</p>
<ul><li>Straight up means towards the sun.</li><li>Longer means further.</li></ul>
<h3>Measures</h3><table><tr><th>Dance</th><th>Way</th></tr><tr><td>1 s</td><td>750 m</td></tr></table>
<p>Other hives use other measures, as was found when two kinds were kept together for a summer.</p></article></main>
<footer><p>Copyright 2026 The insect house</p></footer><script>var tracker = "Home";</script></body></html>"""


def test_the_main_text_stands_under_its_headings(tmp_path: Path) -> None:
    document = document_of(reading_of(tmp_path, "bees.html", PAGE))
    assert document.title == "Bees"
    assert [list(section.heading_path) for section in document.sections] == [
        ["Bees"],
        ["Bees", "How they dance"],
        ["Bees", "How they dance", "Measures"],
    ]
    _, dance, measures = texts_of(document)
    assert dance.endswith("- Straight up means towards the sun.\n- Longer means further.")
    assert measures.startswith("Dance | Way\n1 s | 750 m\n\nOther hives")


def test_navigation_is_left_out_and_counted(tmp_path: Path) -> None:
    reading = reading_of(tmp_path, "bees.html", PAGE)
    text = "\n".join(texts_of(document_of(reading)))
    assert not any(word in text for word in ("Home", "Ants", "insect house", "Copyright", "tracker", "color"))
    assert reading.dropped == {"boilerplate_characters": len("HomeAntsTheinsecthouseCopyright2026Theinsecthouse")}


def test_ranges_count_in_the_main_text(tmp_path: Path) -> None:
    sections = document_of(reading_of(tmp_path, "bees.html", PAGE)).sections
    text = "\n\n".join(section.text for section in sections)
    assert all(text[section.range.start : section.range.end] == section.text for section in sections)


def test_a_short_page_keeps_all_but_what_its_tags_call_navigation(tmp_path: Path) -> None:
    page = "<nav>Home</nav><h1>Ants</h1><div>They <b>carry</b> leaves.<h2>Why</h2>For food.</div><footer>2026</footer>"
    document = document_of(reading_of(tmp_path, "ants.html", f"<html><body>{page}</body></html>"))
    assert [(list(section.heading_path), section.text) for section in document.sections] == [
        (["Ants"], "They carry leaves."),
        (["Ants", "Why"], "For food."),
    ]


@pytest.mark.parametrize(
    ("page", "encoding"),
    [
        ("<html><body><p>Größe</p></body></html>", "utf-8"),
        ("<html><body><p>Größe</p></body></html>", "utf-16"),
        ("<html><body><p>Größe</p></body></html>", "utf-16-le"),
        ('<html><head><meta charset="koi8-r"></head><body><p>Улица</p></body></html>', "koi8-r"),
        ('<?xml version="1.0" encoding="utf-8"?><html><body><p>Größe</p></body></html>', "utf-8"),
    ],
)
def test_a_page_is_decoded_as_its_head_or_its_bytes_say(tmp_path: Path, page: str, encoding: str) -> None:
    (text,) = texts_of(document_of(reading_of(tmp_path, "a.html", page.encode(encoding))))
    assert text in ("Größe", "Улица")


@pytest.mark.parametrize(
    "page",
    ["<html></html>", "<html><body><script>x</script></body></html>", "<!-- only a comment -->", "<", "<?php"],
)
def test_a_page_without_text_is_refused(tmp_path: Path, page: str) -> None:
    assert reading_of(tmp_path, "a.html", page).reason == "holds no text"


def test_a_page_without_a_body_is_read(tmp_path: Path) -> None:
    assert texts_of(document_of(reading_of(tmp_path, "a.html", "<head><title>T</title></head><p>words"))) == ["words"]


def test_deep_nesting_breaks_nothing(tmp_path: Path) -> None:
    page = f"<html><body>{'<div>' * 20_000}deep{'</div>' * 20_000}<p>after</p></body></html>"
    reading = reading_of(tmp_path, "a.html", page)
    assert reading.document or reading.reason

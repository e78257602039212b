"""Text in any common encoding is decoded, cleaned with counts, and its language told."""

from pathlib import Path

import pytest

from cli.reading.cleaning import clean
from cli.reading.decoding import decode
from cli.reading.languages import language_of
from cli.reading.limits import MAX_TEXT_BYTES
from cli.reading.parsed import Unreadable
from tests.unit.files_to_read import document_of, reading_of, texts_of

GERMAN = "Größe und Höhe der Straße sind bekannt; sie wurden im Jahr darauf erneut gemessen."
FRENCH = "L’été dernier, la forêt près de la rivière a brûlé ; on l’a replantée dès l’hiver."
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy, a proto se všichni šli podívat."
RUSSIAN = "Размер и высота улицы известны, их измерили ещё раз через год."
GREEK = "Το μέγεθος και το ύψος του δρόμου είναι γνωστά και μετρήθηκαν ξανά."
JAPANESE = "道路の大きさと高さは知られており、翌年にもう一度測定された。"
CHINESE = "街道的大小和高度是已知的，第二年又测量了一次。"
KOREAN = "거리의 크기와 높이는 알려져 있으며 이듬해에 다시 측정되었다."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "utf-16"),
        ("plain ASCII words", "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (GERMAN, "utf-32"),
        (GERMAN, "cp1252"),
        (FRENCH, "cp1252"),
        ("Café déjà vu", "latin-1"),
        ("A single naïve word in an English text.", "cp1252"),
        ("“Quoted” – with a dash", "cp1252"),
        (CZECH, "cp1250"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (GREEK, "cp1253"),
        (JAPANESE * 3, "cp932"),
        (JAPANESE * 3, "euc_jp"),
        (CHINESE * 3, "gb18030"),
        (KOREAN * 3, "cp949"),
    ],
    ids=lambda value: value if len(value) < 12 else value[:4],
)
def test_common_encodings_are_told_apart(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == (text, 0)


def test_a_few_damaged_bytes_do_not_spoil_the_rest() -> None:
    content = (RUSSIAN * 40).encode()
    text, num_undecodable = decode(content[:101] + b"\xff" + content[101:])
    assert num_undecodable in (1, 2, 3)
    assert text.count(RUSSIAN) == 39


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"ab\0c", "is no text: byte 2 is NUL"),
        (b"\0\0\0\0", "is no text: byte 0 is NUL"),
        (bytes(range(1, 256)) * 8, "is no text: byte 127 is not UTF-8 and no other encoding fits"),
    ],
    ids=["nul", "only-nul", "binary"],
)
def test_what_is_no_text_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        decode(content)


def test_what_no_reader_sees_is_left_out_and_counted() -> None:
    text, counts = clean("a\x00b\x07 \x1b[31mred\x1b[0m co\u00adope\u00adrate cafe\u0301\tx\r\n\ufeffy\ud800")
    assert text == "ab red cooperate café\tx\r\ny"
    assert counts == {"control_characters": 6, "soft_hyphens": 2, "composed_characters": 1}


def test_lines_that_were_decoded_wrongly_once_are_repaired() -> None:
    broken = GERMAN.encode().decode("cp1252")
    assert clean(f"{GERMAN}\n{broken}\nplain") == (f"{GERMAN}\n{GERMAN}\nplain", {"mojibake_lines": 1})


@pytest.mark.parametrize("text", [GERMAN, FRENCH, CZECH, RUSSIAN, GREEK, JAPANESE, CHINESE, KOREAN, "a\n\tb\r\n\x0cc"])
def test_a_text_with_nothing_to_clean_stays_as_it_is(text: str) -> None:
    assert clean(text) == (text, {})


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (GERMAN, "de"),
        (FRENCH, "fr"),
        (CZECH, "cs"),
        (RUSSIAN, "ru"),
        (GREEK, "el"),
        (JAPANESE, "ja"),
        (CHINESE, "zh"),
        (KOREAN, "ko"),
        ("The reranker scores at most two hundred candidates, and it never adds or drops one.", "en"),
        ("Short.", ""),
        ("```\nimport os\nfor name in os.listdir(path): print(name.encode('utf-8').hex())\n```", ""),
        ("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25", ""),
    ],
)
def test_the_language_is_told_or_left_open(text: str, language: str) -> None:
    assert language_of(text) == language


def test_a_section_is_a_slice_of_the_cleaned_text(tmp_path: Path) -> None:
    reading = reading_of(tmp_path, "a.md", "# Head\x07\n\nco\u00adoperate \x1b[1mnow\x1b[0m\n\n## Next\n\nend")
    cleaned = "# Head\n\ncooperate now\n\n## Next\n\nend"
    sections = document_of(reading).sections
    assert [section.text for section in sections] == ["cooperate now", "end"]
    assert all(cleaned[section.range.start : section.range.end] == section.text for section in sections)
    assert reading.dropped == {"control_characters": 3, "soft_hyphens": 1}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        pytest.param("a.md", b"", "holds no text", id="empty"),
        pytest.param("a.md", b" \n\n", "holds no text", id="blank"),
        pytest.param("a.md", b"# Head\n\n## Only headings\n", "holds no text", id="only-headings"),
        pytest.param("a.txt", b"x" * (MAX_TEXT_BYTES + 1), "is too large: 15,728,641 bytes", id="too-many-bytes"),
        pytest.param("a.txt", b"x" * 4_000_001, "is too large: 4,000,001 characters", id="too-many-characters"),
        pytest.param("a.md", b"# a\n\nb\n" * 50_001, "is too large: 50,001 sections", id="too-many-sections"),
        pytest.param("a.odt", b"words", "is of no known kind; known are .md,", id="unknown-suffix"),
        pytest.param("a.pdf", b"words", "is no PDF, though its name says so", id="text-named-pdf"),
        pytest.param("a.txt", b"\x89PNG\r\n\x1a\n", "is a PNG image", id="image-named-txt"),
        pytest.param("a.txt", b"\x1f\x8b\x08\0\0\0", "is packed by gzip, which its name", id="gzip-named-txt"),
        pytest.param("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Office file, or one with", id="doc"),
        pytest.param("x" * 250 + ".md", b"words" * 99, "", id="long-name"),
    ],
)
def test_a_broken_file_is_refused_with_its_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    reading = reading_of(tmp_path, name, content)
    assert reading.reason.startswith(reason)
    assert (reading.document is None) == bool(reason)
    assert reading.num_bytes == len(content)


def test_a_name_without_a_suffix_claims_plain_text(tmp_path: Path) -> None:
    assert texts_of(document_of(reading_of(tmp_path, "README", "# words"))) == ["# words"]

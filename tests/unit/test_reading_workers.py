"""Files are parsed side by side, in order, in bounded memory, and a parser that dies costs its file alone."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.reading.read import Reading, ReadOptions, count_files, read_all
from tests.installation import ROOT
from tests.unit.files_to_read import pdf, word, write

SLOW = "- a\n" * 300_000
"""A list that takes many seconds to parse."""


def read(folder: Path, options: ReadOptions | None = None) -> dict[str, Reading]:
    return {
        reading.name.removeprefix(f"{folder}/"): reading for reading in read_all([folder], options or ReadOptions())
    }


def workers() -> list[int]:
    """The processes that this one started to read files."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            is_worker = folder.name.isdigit() and b"cli.reading.worker" in (folder / "cmdline").read_bytes()
            if is_worker and f"PPid:\t{os.getpid()}\n" in (folder / "status").read_text():
                found.append(int(folder.name))
    return found


def test_readings_come_in_order_whatever_parses_them(tmp_path: Path) -> None:
    for number in range(0, 60, 3):
        write(tmp_path, f"{number:02}.md", f"# Number {number}\n\nwords")
        write(tmp_path, f"{number + 1:02}.pdf", pdf([[f"page {number}"]] * (40 if number % 2 else 1)))
        write(tmp_path, f"{number + 2:02}.docx", word(("Normal", "words")))
    readings = list(read_all([tmp_path], ReadOptions(workers=2)))
    assert [Path(reading.name).stem for reading in readings] == [f"{number:02}" for number in range(60)]
    assert all(reading.document and reading.is_last for reading in readings)
    assert count_files([tmp_path]) == 60
    assert workers() == []


def test_small_text_starts_no_process(tmp_path: Path) -> None:
    for number in range(10):
        write(tmp_path, f"{number}.md", "words")
    readings = read_all([tmp_path], ReadOptions())
    next(readings)
    assert workers() == []
    assert len(list(readings)) == 9


def test_markdown_alone_loads_no_other_parser(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "# Größe\n\nDie Straße ist lang und breit, und sie führt über die Brücke.")
    program = (
        "import sys; from pathlib import Path; from cli.reading.read import ReadOptions, read_all\n"
        f"assert [reading.language for reading in read_all([Path({str(tmp_path)!r})], ReadOptions())] == ['de']\n"
        "heavy = {'trafilatura', 'lxml', 'docx', 'pypdfium2', 'charset_normalizer', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_a_parser_that_hangs_costs_its_file_alone(tmp_path: Path) -> None:
    write(tmp_path, "1.pdf", pdf([["one"]]))
    write(tmp_path, "2.md", SLOW)
    write(tmp_path, "3.pdf", pdf([["three"]]))
    readings = read(tmp_path, ReadOptions(workers=1, time_limit_s=2))
    assert {name: reading.reason for name, reading in readings.items()} == {
        "1.pdf": "",
        "2.md": "takes longer than 2 s to parse",
        "3.pdf": "",
    }


def test_a_parser_that_dies_costs_its_file_alone(tmp_path: Path) -> None:
    write(tmp_path, "1.pdf", pdf([["one"]]))
    write(tmp_path, "2.md", SLOW)
    write(tmp_path, "3.pdf", pdf([["three"]]))
    readings = read_all([tmp_path], ReadOptions(workers=1))
    assert next(readings).document
    (worker,) = workers()
    time.sleep(0.5)
    os.kill(worker, signal.SIGKILL)
    assert [reading.reason for reading in readings] == ["cannot be parsed: its parser ended early (Killed)", ""]


@pytest.mark.slow
def test_a_document_may_not_take_all_memory(tmp_path: Path) -> None:
    write(tmp_path, "1.md", SLOW)
    write(tmp_path, "2.pdf", pdf([["two"]]))
    readings = read(tmp_path, ReadOptions(workers=1, max_worker_bytes=300 << 20, time_limit_s=600))
    assert readings["1.md"].reason == "takes more memory to parse than a worker may have"
    assert readings["2.pdf"].document


def test_who_stops_early_leaves_no_process_behind(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path, f"{number:02}.pdf", pdf([["words"]]))
    with contextlib.closing(read_all([tmp_path], ReadOptions(workers=2))) as readings:
        assert next(readings).document
        assert workers()
    assert workers() == []


def test_a_consumer_that_rests_meets_no_time_limit(tmp_path: Path) -> None:
    rows = "\n".join(f"{number},{'words ' * 2_000}" for number in range(200))
    write(tmp_path, "a.csv", f"id,text\n{rows}\n")
    readings = read_all([tmp_path], ReadOptions(workers=1, time_limit_s=5))
    assert next(readings).document
    time.sleep(6)
    assert sum(bool(reading.document) for reading in readings) == 199


def corpus_of_200_mb(folder: Path) -> None:
    words = " ".join(f"word{number}" for number in range(300))
    paragraph = f"{words}\n\n"
    for number in range(20):
        section = f"# Part {number}\n\n{paragraph * 4}## Below\n\n{paragraph}"
        write(folder, f"md/{number:02}.md", f"number {number} {section * 150}")
        write(folder, f"txt/{number:02}.txt", f"number {number} {paragraph * 1_400}")
        page = "".join(f"<h2>Part {part}</h2>" + f"<p>{words}</p>" * 8 for part in range(50))
        write(folder, f"html/{number:02}.html", f"<html><body><nav>Home</nav><h1>{number}</h1>{page}</body></html>")
    rows = "".join(f"{number},{words}\n" for number in range(18_000))
    write(folder, "tables/a.csv", f"id,text\n{rows}")
    write(folder, "tables/b.csv", f"id,text\n{rows}")
    report = pdf([[f"line {line} of page {page}: {words[:60]}" for line in range(50)] for page in range(400)])
    for number in range(20):
        write(folder, f"pdf/{number:02}.pdf", report)
    manual = word(*[("Normal", words)] * 500)
    for number in range(30):
        write(folder, f"docx/{number:02}.docx", manual)


MEASURE = """
import re, resource, sys
from pathlib import Path
from cli.reading.near_duplicates import NearDuplicates
from cli.reading.read import ReadOptions, read_all
near_duplicates, num_documents, num_characters = NearDuplicates(), 0, 0
for reading in read_all([Path(sys.argv[1])], ReadOptions(workers=2)):
    assert reading.document, (reading.name, reading.reason)
    text = "\\n".join(section.text for section in reading.document.sections)
    near_duplicates.seen(reading.document.document_id, text[:10_000])
    num_documents, num_characters = num_documents + 1, num_characters + len(text)
worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
here = int(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1])  # ru_maxrss knows our parent's
print(num_documents, num_characters, here >> 10, worker >> 10)
"""


@pytest.mark.slow
def test_a_corpus_of_200_mb_is_read_in_less_than_a_gibibyte(tmp_path: Path) -> None:
    corpus_of_200_mb(tmp_path)
    num_bytes = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert num_bytes > 200_000_000
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    num_documents, num_characters, here_mib, worker_mib = map(int, finished.stdout.split())
    print(f"{num_bytes:,} bytes, {num_documents} documents, {num_characters:,} characters:", here_mib, worker_mib)
    assert num_documents == 110 + 36_000
    assert here_mib + 2 * worker_mib < 1_024

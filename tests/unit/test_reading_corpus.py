"""The texts and pages of all installed packages: a real, messy corpus."""

import sysconfig
from pathlib import Path

import pytest

from cli.reading.folders import find_sources
from cli.reading.kinds import suffix_of
from cli.reading.read import ReadOptions, read_all

PACKAGES = Path(sysconfig.get_path("purelib"))


@pytest.mark.slow
def test_every_file_gives_a_document_or_a_reason() -> None:
    sources = [source for source in find_sources(PACKAGES) if suffix_of(source.path.name) not in (".csv", ".jsonl")]
    assert len(sources) > 200, "the environment holds the documentation of many packages"
    readings = list(read_all([source.path for source in sources], ReadOptions(workers=2)))
    assert sum(reading.is_last for reading in readings) == len(sources)
    assert all(bool(reading.document) != bool(reading.reason) for reading in readings)
    unparsed = {reading.name: reading.reason for reading in readings if reading.reason.startswith("cannot be parsed")}
    assert not unparsed
    num_read = sum(bool(reading.document) for reading in readings)
    assert num_read > 0.95 * len(readings), "few are empty or damaged"


@pytest.mark.slow
def test_most_of_it_is_english_prose() -> None:
    sources = [source for source in find_sources(PACKAGES) if "README" in source.path.name]
    languages = [reading.language for reading in read_all([source.path for source in sources], ReadOptions(workers=2))]
    assert languages.count("en") > 0.7 * len(languages)

"""Prompt templates are files with a version; a faulty one names file and field."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from chassis.config import ConfigError
from services.generator.engine import Passage
from services.generator.prompts import prompt_template

WHOLE: dict[str, Any] = {
    "name": "mine",
    "version": 3,
    "citations": True,
    "user": "{passages}\n\n{question}",
    "passage": "{number} {text}",
    "titled_passage": "{number} {title} {text}",
    "separator": "\n",
}
PASSAGES = [Passage("a", "First {text}.", "Title {number}"), Passage("b", "Second.")]


def joined(fields: dict[str, Any]) -> str:
    told = prompt_template.read(fields).lay_out("why {passages}?", PASSAGES)
    return "".join([*told.before, *told.passages, *told.after])


@pytest.mark.parametrize("path", sorted(prompt_template.FOLDER.iterdir()), ids=lambda path: path.name)
def test_a_file_is_named_as_its_template(path: Path) -> None:
    assert prompt_template.find(path.stem).versioned_name == path.stem
    assert path.suffix == ".toml"


def test_an_engine_that_writes_from_a_prompt_has_a_template_of_its_own() -> None:
    assert set(prompt_template.DEFAULTS.values()) <= set(prompt_template.built_in())
    for engine, name in prompt_template.DEFAULTS.items():
        assert prompt_template.find(name).versioned_name == name
        assert prompt_template.choose(None, engine) is None


def test_a_template_of_the_users_own_is_found_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nversion = 3\ncitations = false\nuser = """\n{question}{passages}\n"""\n'
        'passage = "{text}"\ntitled_passage = "{title}{text}"\nseparator = ""\n'
    )
    template = prompt_template.choose(str(path), "seq2seq")
    assert template
    assert template.versioned_name == "mine-3"
    assert template.user == "{question}{passages}"


def test_slots_are_filled_once_and_white_space_goes_with_what_fills_them() -> None:
    told = prompt_template.read(WHOLE | {"user": "Read: {passages}\n\nAsked: {question} {{sic}} "}).lay_out(
        "why {passages}?", PASSAGES
    )
    assert told.before == ("Read:",)
    assert told.passages == (" 1 Title {number} First {text}.", "\n2 Second.")
    assert told.after == ("\n\nAsked:", " why {passages}?", " {sic} ")


def test_the_question_may_come_first_or_last() -> None:
    read = "1 Title {number} First {text}.\n2 Second."
    assert joined(WHOLE) == f"{read}\n\nwhy {{passages}}?"
    assert joined(WHOLE | {"user": "{question}\n{passages}"}) == f"why {{passages}}?\n{read}"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param({"name": "No name"}, "name", id="name"),
        pytest.param({"version": 0}, "version", id="version"),
        pytest.param({"version": "1"}, "version", id="version as text"),
        pytest.param({"citations": "yes"}, "citations", id="citations"),
        pytest.param({"usr": "{question}"}, "usr: Unexpected", id="unknown key"),
        pytest.param({"user": ""}, "user", id="empty"),
        pytest.param({"user": "{question}"}, r"user: lacks \{passages\}", id="missing slot"),
        pytest.param({"user": "{question} {passages} {text}"}, r"user: unknown slot \{text\}", id="unknown slot"),
        pytest.param({"user": "{question} {passages!r}"}, r"unknown slot \{passages!r\}", id="conversion"),
        pytest.param({"user": "{question} {passages.x}"}, r"unknown slot \{passages.x\}", id="attribute"),
        pytest.param({"user": "{question} {passages} {}"}, r"unknown slot \{\}", id="position"),
        pytest.param({"user": "{question} {question} {passages}"}, "more than once", id="repeated slot"),
        pytest.param({"user": "{question} {passages"}, "user: expected '}'", id="open brace"),
        pytest.param({"passage": "{text}"}, r"passage: lacks \{number\}", id="no number to cite"),
        pytest.param({"passage": "{number}{title}{text}"}, r"unknown slot \{title\}", id="title of none"),
        pytest.param({"titled_passage": "{number}{text}"}, r"titled_passage: lacks \{title\}", id="no title"),
        pytest.param({"system": ["a"]}, "system", id="system"),
    ],
)
def test_a_faulty_template_is_refused_by_its_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        prompt_template.read(WHOLE | change)


def test_every_missing_field_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        prompt_template.read({})
    assert all(f"{field}: " in str(refused.value) for field in WHOLE)


def test_a_faulty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("name = mine")
    with pytest.raises(ConfigError, match=r"mine\.toml: Invalid value"):
        prompt_template.find(str(path))
    path.write_text('name = "mine"')
    with pytest.raises(ConfigError, match=r"mine\.toml: version: Field required"):
        prompt_template.find(str(path))


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="no prompt template cite-sources: there are cite-sources-1"):
        prompt_template.find("cite-sources")
    with pytest.raises(ConfigError, match=r"no prompt template /nowhere/mine\.toml$"):
        prompt_template.find("/nowhere/mine.toml")


@pytest.mark.parametrize("engine", ["extractive", "rag-sequence", "rag-token"])
def test_an_engine_without_a_template_refuses_the_setting(engine: str) -> None:
    assert prompt_template.choose(None, engine) is None
    with pytest.raises(ConfigError, match=f"GENERATOR_PROMPT_TEMPLATE: the engine {engine}"):
        prompt_template.choose("cite-sources-1", engine)


def test_the_instructions_can_be_read_in_the_file() -> None:
    fields = tomllib.loads((prompt_template.FOLDER / "cite-sources-1.toml").read_text())
    assert "\n" not in fields["system"].strip()
    assert "[2]" in fields["system"]

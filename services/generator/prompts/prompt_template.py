"""What a model is told beside question and passages, from files that have a version. `docs/prompts.md`."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as checked

from chassis.config import ConfigError
from services.generator.engine import Passage

FOLDER = Path(__file__).parent / "templates"
DEFAULTS = {"seq2seq": "question-context-1", "ctranslate2": "question-context-1", "causal": "cite-sources-1"}
"""The template of each engine that has one."""

SLOTS = {
    "user": {"question", "passages"},
    "passage": {"number", "text"},
    "titled_passage": {"number", "title", "text"},
}
NEEDED = {"user": {"question", "passages"}, "passage": {"text"}, "titled_passage": {"title", "text"}}
"""Field of a template → slots. Other fields have none."""

EDGELESS = {"system", *SLOTS}
"""Fields whose line breaks at both ends belong to the file."""

Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class LaidOut:
    """The texts of a prompt, to be made ids each on its own."""

    before: tuple[str, ...]
    passages: tuple[str, ...]
    after: tuple[str, ...]


@checked(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class PromptTemplate:
    """A file of the folder `prompts`, or one of the user's."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    version: Annotated[int, Field(ge=1)]
    citations: bool
    """Whether it asks the model to cite passages by number."""
    user: Text
    passage: Text
    """The form of a passage without a title."""
    titled_passage: Text
    separator: str
    """What stands between passages."""
    system: str = ""
    plain_end: str = ""
    """What ends the prompt of a checkpoint that has no chat template."""

    @property
    def versioned_name(self) -> str:
        """`cite-sources-1`."""
        return f"{self.name}-{self.version}"

    def lay_out(self, question: str, passages: Sequence[Passage]) -> LaidOut:
        """Passages are numbered by position, from 1. White space before a slot goes with what fills it, as the tokens
        of words begin with their space."""
        texts: list[str] = []
        before: list[str] = []
        literal = gap_before_passages = ""
        for part, slot, _, _ in string.Formatter().parse(self.user):
            literal += part
            if slot is None:
                continue
            texts.append(literal.rstrip())
            gap = literal[len(texts[-1]) :]
            if slot == "question":
                texts.append(gap + question)
            else:
                before, texts, gap_before_passages = texts, [], gap
            literal = ""
        texts.append(literal)
        separators = [gap_before_passages, *[self.separator] * (len(passages) - 1)]
        read = [
            separator + self._passage(number, passage)
            for number, (separator, passage) in enumerate(zip(separators, passages, strict=True), 1)
        ]
        return LaidOut(tuple(filter(None, before)), tuple(read), tuple(filter(None, texts)))

    def _passage(self, number: int, passage: Passage) -> str:
        form = self.titled_passage if passage.title else self.passage
        return form.format(number=number, title=passage.title, text=passage.text)


def built_in() -> list[str]:
    """The names that need no path."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def choose(name: str | None, engine: str) -> PromptTemplate | None:
    """The template that `GENERATOR_PROMPT_TEMPLATE` names. None leaves it to the engine.

    Raises ConfigError: no such template, a faulty one, or one for an engine that has none.
    """
    if not name:
        return None
    if engine not in DEFAULTS:
        raise ConfigError(f"GENERATOR_PROMPT_TEMPLATE: the engine {engine} takes no prompt template")
    return find(name)


def find(name: str) -> PromptTemplate:
    """The template of that name, or in the file at that path. Raises ConfigError, naming file and field."""
    is_path = "/" in name or name.endswith(".toml")
    path = Path(name) if is_path else FOLDER / f"{name}.toml"
    try:
        return read(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        known = "" if is_path else f": there are {', '.join(built_in())}, and any file by its path"
        raise ConfigError(f"no prompt template {name}{known}") from None
    except (OSError, ValueError, ConfigError) as error:
        raise ConfigError(f"the prompt template {path}: {error}") from None


def read(fields: Mapping[str, Any]) -> PromptTemplate:
    """The template of these fields. Raises ConfigError, naming every field at fault."""
    told = {key: _without_edges(value) if key in EDGELESS else value for key, value in fields.items()}
    try:
        template = PromptTemplate(**told)
    except ValidationError as error:
        raise ConfigError(
            "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        ) from None
    for field in SLOTS:
        _require_slots(field, getattr(template, field), template.citations)
    return template


def _require_slots(field: str, text: str, has_numbers: bool) -> None:
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ConfigError(f"{field}: {error}; a brace that is no slot is written twice") from None
    slots = [slot for _, slot, _, _ in parsed if slot is not None]
    for _, slot, form, conversion in parsed:
        spelt = f"{slot}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}"
        if slot is not None and spelt not in SLOTS[field]:
            raise ConfigError(f"{field}: unknown slot {{{spelt}}}; there are {_listed(SLOTS[field])}")
    needed = NEEDED[field] | ({"number"} if has_numbers and field != "user" else set())
    if missing := needed - set(slots):
        raise ConfigError(f"{field}: lacks {_listed(missing)}")
    if repeated := {slot for slot in slots if slots.count(slot) > 1}:
        raise ConfigError(f"{field}: has {_listed(repeated)} more than once")


def _without_edges(value: Any) -> Any:
    return value.strip("\n") if isinstance(value, str) else value


def _listed(slots: set[str]) -> str:
    return ", ".join(f"{{{slot}}}" for slot in sorted(slots))

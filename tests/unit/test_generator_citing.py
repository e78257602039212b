"""An answer that cites says what it cites, from the model's tokens to the wire."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from transformers import BartForConditionalGeneration, PreTrainedTokenizerBase

from chassis.config import ConfigError
from chassis.pretrained import load_tokenizer
from services.generator.config import GeneratorConfig
from services.generator.engine import Citations, Step
from services.generator.text.citations import CitationFilter
from services.generator.text.writer import Writer
from tests.unit import seeded_generators as seeded
from tests.unit.test_generator_service import request, sampled, served

TEXTS = ("It takes ten seconds.", "Ships sail at six.")


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    with TemporaryDirectory() as folder:
        seeded.bart_tokenizer().save_pretrained(folder)
        return load_tokenizer(Path(folder))


def steps_of(text: str, citations: CitationFilter | None) -> list[Step]:
    ids = tokenizer().encode(text, add_special_tokens=False)
    writer = Writer(tokenizer(), 100, frozenset(), citations=citations)
    return [writer.write(token_id, number == len(ids)) for number, token_id in enumerate(ids, 1)]


def save_one_that_says(text: str, path: Path) -> int:
    """A BART that says it, whatever it is asked. Every token of it must be another one. Returns how many it writes."""
    seeded.save_bart(path, no_repeat_ngram_size=1)
    ids = tokenizer().encode(text, add_special_tokens=False)
    assert len(set(ids)) == len(ids)
    model = BartForConditionalGeneration.from_pretrained(path)
    model.final_logits_bias[0, ids] = torch.linspace(2e4, 1e4, len(ids))
    model.save_pretrained(path)
    return len(ids) + 1  # its end is forced


def test_the_last_step_tells_what_the_answer_cites() -> None:
    *steps, last = steps_of("Ten [2] seconds [1][3], and [2", CitationFilter(["a", "b"]))
    assert "".join(step.text for step in [*steps, last]) == "Ten [2] seconds [1], and [2"
    assert last.citations == Citations(("b", "a"), 1)
    assert {step.citations for step in steps} == {None}
    assert all(step.num_tokens == 1 for step in [*steps, last])


def test_where_no_citations_are_asked_for_brackets_are_text() -> None:
    *steps, last = steps_of("Ten [9] seconds", None)
    assert "".join(step.text for step in [*steps, last]) == "Ten [9] seconds"
    assert last.citations is None


async def test_an_answer_names_its_template_and_the_passages_that_it_cites(tmp_path: Path) -> None:
    num_tokens = save_one_that_says("[1, 9]", tmp_path)
    settings = citing(tmp_path, max_prompt_tokens=512)
    async with served(settings) as generator:
        deltas, finished = await generator.answer(sampled(num_tokens, request("How long?", *TEXTS)))
        sample = generator.runtime.metrics.registry.get_sample_value
    assert "".join(delta.text for delta in deltas) == "[1]"
    assert finished.prompt_template == "short-2"
    assert list(finished.cited_passage_ids) == ["p0"]
    assert finished.num_removed_citations == 1
    assert finished.usage.output_tokens == num_tokens
    assert sample("trivium_citations_removed_total") == 1


async def test_a_passage_that_was_dropped_cannot_be_cited(tmp_path: Path) -> None:
    num_tokens = save_one_that_says("[2]", tmp_path)
    async with served(citing(tmp_path, max_prompt_tokens=64)) as generator:
        deltas, finished = await generator.answer(sampled(num_tokens, request("How long?", TEXTS[0], TEXTS[1] * 5)))
    assert list(finished.dropped_passage_ids) == ["p1"]
    assert not deltas
    assert (list(finished.cited_passage_ids), finished.num_removed_citations) == ([], 1)


async def test_the_default_of_an_encoder_decoder_asks_for_no_citations(tmp_path: Path) -> None:
    num_tokens = save_one_that_says("[1, 9]", tmp_path)
    async with served(GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path))) as generator:
        deltas, finished = await generator.answer(sampled(num_tokens))
    assert "".join(delta.text for delta in deltas) == "[1, 9]"
    assert finished.prompt_template == "question-context-1"
    assert (list(finished.cited_passage_ids), finished.num_removed_citations) == ([], 0)


async def test_an_extractive_generator_has_no_template_and_no_place_for_one() -> None:
    async with served(GeneratorConfig(device="cpu")) as generator:
        _, finished = await generator.answer(request())
        sample = generator.runtime.metrics.registry.get_sample_value
    assert finished.prompt_template == ""
    assert sample("trivium_citations_removed_total") == 0
    with pytest.raises(ConfigError, match="takes no prompt template"):
        async with served(GeneratorConfig(device="cpu", prompt_template="cite-sources-1")):
            pass


def citing(path: Path, **settings: Any) -> GeneratorConfig:
    template = path / "short.toml"
    template.write_text(
        'name = "short"\nversion = 2\ncitations = true\nuser = "{question} {passages}"\n'
        'passage = "[{number}] {text}"\ntitled_passage = "[{number}] {title} {text}"\nseparator = " "\n'
    )
    return GeneratorConfig(device="cpu", engine="seq2seq", model=str(path), prompt_template=str(template), **settings)

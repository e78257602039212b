"""RAG answers are those of transformers' own `generate`; each passage's weight is its posterior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, RagRetriever, RagSequenceForGeneration, RagTokenForGeneration

from chassis.config import ConfigError
from services.generator.engine import Answer, Asked, Passage, QuestionTooLong, Sampling
from services.generator.engines.rag import Rag, RagSequence, RagToken
from services.generator.prompts.rag_prompt import RagPrompt
from tests.unit import seeded_generators as seeded

pytestmark = pytest.mark.usefixtures("one_thread")

NUM_QUESTIONS = 50
NUM_PASSAGES = 5
MAX_TOKENS = 12

ENGINES: dict[str, tuple[type[Rag], Any]] = {
    "sequence": (RagSequence, RagSequenceForGeneration),
    "token": (RagToken, RagTokenForGeneration),
}


def load(kind: str, path: Path, num_beams: int) -> Rag:
    engine = ENGINES[kind][0](path, "cpu", 2_048, 400, num_beams, dtype=torch.float64)
    torch.set_num_threads(1)  # models this small only lose by sharing their work
    return engine


def random_questions(engine: Rag, is_ragged: bool, number: int = NUM_QUESTIONS) -> list[Asked[RagPrompt]]:
    """Ragged: the passages of a question have different lengths. Those of different questions have always."""
    random = np.random.default_rng(0)
    size = len(engine._tokenizer)
    asked = []
    for _ in range(number):
        lengths = random.integers(4, 40, NUM_PASSAGES) if is_ragged else [random.integers(4, 40)] * NUM_PASSAGES
        rows = tuple(tuple(random.integers(5, size, length).tolist()) for length in lengths)
        scores = tuple(random.normal(0, 2, NUM_PASSAGES).tolist())
        num_tokens = sum(map(len, rows))
        prompt = RagPrompt(num_tokens, num_tokens, 0, (), rows=rows, passage_ids=tuple("abcde"), scores=scores)
        asked.append(Asked(prompt, Sampling(MAX_TOKENS)))
    return asked


def stock(kind: str, path: Path) -> Any:
    model = ENGINES[kind][1].from_pretrained(path).double().eval()
    if not hasattr(model.config.generator, "bos_token_id"):
        model.config.generator.bos_token_id = None  # `get_nll` reads it, T5Config has none
    return model


def reads_masks(model: Any, pad_token_id: int) -> Any:
    """RagSequenceForGeneration drops the mask when it lets the generator write, and transformers 5 infers none for
    encoder-decoders: there padding is read as text. Here the mask is handed on."""
    write = model.generator.generate

    def generate(token_ids: torch.Tensor, **options: Any) -> Any:
        return write(token_ids, **{**options, "attention_mask": token_ids.ne(pad_token_id).long()})

    model.generator.generate = generate
    return model


def expected(model: Any, engine: Rag, question: Asked[RagPrompt], num_beams: int) -> list[int]:
    """What transformers writes for one question."""
    token_ids, mask, scores = engine._inputs([question])
    found = model.generate(
        context_input_ids=token_ids,
        context_attention_mask=mask,
        doc_scores=scores,
        num_beams=num_beams,
        do_sample=False,
        max_length=1 + MAX_TOKENS,
    )
    ids: list[int] = found[0].tolist()
    return ids


def in_batches(engine: Rag, questions: Sequence[Asked[RagPrompt]], size: int = 7) -> list[Answer]:
    parts = [questions[start : start + size] for start in range(0, len(questions), size)]
    return [answer for part in parts for answer in engine.run(engine.prepare(part))]


def require_equal(engine: Rag, model: Any, questions: Sequence[Asked[RagPrompt]], num_beams: int) -> None:
    answers = in_batches(engine, questions)
    for question, answer in zip(questions, answers, strict=True):
        ids = expected(model, engine, question, num_beams)
        assert answer.text == engine._tokenizer.decode(ids, skip_special_tokens=True)
    assert len({answer.text for answer in answers}) > NUM_QUESTIONS / 4, "always the same answer compares nothing"


@pytest.mark.parametrize("family", seeded.SAVE)
@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("num_beams", [4, 1], ids=["beams", "greedy"])
def test_the_answers_are_those_of_transformers(kind: str, family: str, num_beams: int, tmp_path: Path) -> None:
    seeded.save_rag(tmp_path, family)
    engine = load(kind, tmp_path, num_beams)
    require_equal(engine, stock(kind, tmp_path), random_questions(engine, is_ragged=kind == "token"), num_beams)


@pytest.mark.parametrize("family", seeded.SAVE)
@pytest.mark.parametrize("num_beams", [4, 1], ids=["beams", "greedy"])
def test_padding_is_no_text(family: str, num_beams: int, tmp_path: Path) -> None:
    seeded.save_rag(tmp_path, family)
    engine = load("sequence", tmp_path, num_beams)
    model = reads_masks(stock("sequence", tmp_path), engine._pad)
    require_equal(engine, model, random_questions(engine, is_ragged=True), num_beams)


def direct_log_likelihoods(model: Any, engine: Rag, question: Asked[RagPrompt], ids: Sequence[int]) -> torch.Tensor:
    """log p(y_i | x, z, y_<i), (passages, tokens): each passage by itself, without cache or padding."""
    target = torch.tensor([ids[1:]])
    rows = []
    for row in question.prompt.rows:
        logits = model.generator(input_ids=torch.tensor([row]), decoder_input_ids=torch.tensor([ids[:-1]])).logits
        rows.append(logits.log_softmax(-1).gather(2, target[..., None])[0, :, 0])
    return torch.stack(rows)


@torch.no_grad()
@pytest.mark.parametrize("family", seeded.SAVE)
def test_a_sequence_weighs_its_passages_by_their_posterior(family: str, tmp_path: Path) -> None:
    seeded.save_rag(tmp_path, family)
    engine, model = load("sequence", tmp_path, 4), stock("sequence", tmp_path)
    questions = random_questions(engine, is_ragged=True, number=10)
    found = engine._answers(questions, MAX_TOKENS)
    for question, (ids, weights) in zip(questions, found, strict=True):
        prior = torch.tensor(question.prompt.scores, dtype=torch.float64).log_softmax(0)
        likelihoods = direct_log_likelihoods(model, engine, question, ids.tolist()).sum(1)
        np.testing.assert_allclose(weights, (prior + likelihoods).softmax(0), atol=1e-9)
        assert float(weights.sum()) == pytest.approx(1, abs=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("family", seeded.SAVE)
def test_a_token_answer_weighs_its_passages_by_the_mean_posterior_of_its_tokens(family: str, tmp_path: Path) -> None:
    seeded.save_rag(tmp_path, family)
    engine, model = load("token", tmp_path, 4), stock("token", tmp_path)
    questions = random_questions(engine, is_ragged=True, number=10)
    found = engine._answers(questions, MAX_TOKENS)
    for question, (ids, weights) in zip(questions, found, strict=True):
        prior = torch.tensor(question.prompt.scores, dtype=torch.float64).log_softmax(0)
        posteriors = (direct_log_likelihoods(model, engine, question, ids.tolist()) + prior[:, None]).softmax(0)
        is_text = [one not in engine._tokenizer.all_special_ids for one in ids.tolist()[1:]]
        expected_weights = posteriors[:, is_text].mean(1) if any(is_text) else prior.exp()
        np.testing.assert_allclose(weights, expected_weights, atol=1e-9)
        assert float(weights.sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("kind", ENGINES)
def test_an_answer_does_not_depend_on_who_shares_the_batch(kind: str, tmp_path: Path) -> None:
    seeded.save_rag(tmp_path)
    engine = load(kind, tmp_path, 4)
    questions = [
        one if number % 3 else replace(one, sampling=Sampling(5)) if number % 2 else _first_two(one)
        for number, one in enumerate(random_questions(engine, is_ragged=True, number=18))
    ]
    alone = [engine.run(engine.prepare([one]))[0] for one in questions]
    for size, some in ((18, questions), (5, questions), (18, questions[::-1])):
        together = in_batches(engine, some, size)
        for one, other in zip(alone, together if some is questions else together[::-1], strict=True):
            assert (one.text, one.num_tokens, one.finish) == (other.text, other.num_tokens, other.finish)
            assert one.weight_by_passage_id == pytest.approx(other.weight_by_passage_id, abs=1e-9)


def _first_two(question: Asked[RagPrompt]) -> Asked[RagPrompt]:
    prompt = question.prompt
    return replace(
        question,
        prompt=replace(prompt, rows=prompt.rows[:2], passage_ids=prompt.passage_ids[:2], scores=prompt.scores[:2]),
    )


def test_every_passage_is_encoded_once_and_equal_answers_are_scored_once(tmp_path: Path) -> None:
    seeded.save_rag(tmp_path)
    engine = load("sequence", tmp_path, 4)
    encoded: list[int] = []
    scored: list[int] = []
    engine._generator.get_encoder().register_forward_hook(lambda _, __, states: encoded.append(len(states[0])))
    engine._generator.get_decoder().register_forward_hook(
        lambda _, __, states: scored.append(len(states[0])) if states[0].shape[1] > 1 else None
    )
    one, other = random_questions(engine, is_ragged=True, number=2)
    same = replace(one, prompt=replace(one.prompt, rows=one.prompt.rows[:1] * NUM_PASSAGES))
    engine.run(engine.prepare([same, other]))
    assert encoded == [2 * NUM_PASSAGES]
    assert sum(scored) == (4 + 4 * NUM_PASSAGES) * NUM_PASSAGES, "five equal passages propose four answers together"


def test_what_is_scored_at_a_time_is_bounded_and_changes_nothing(tmp_path: Path) -> None:
    seeded.save_rag(tmp_path)
    whole = load("sequence", tmp_path, 4)
    few = RagSequence(tmp_path, "cpu", 2_048, 400, 4, max_batch_tokens=20, dtype=torch.float64)
    torch.set_num_threads(1)
    questions = random_questions(whole, is_ragged=True, number=6)
    rows: list[int] = []
    few._generator.get_decoder().register_forward_hook(
        lambda _, __, states: rows.append(len(states[0])) if states[0].shape[1] > 1 else None
    )
    for one, other in zip(in_batches(whole, questions), in_batches(few, questions), strict=True):
        assert one.text == other.text
        assert one.weight_by_passage_id == pytest.approx(other.weight_by_passage_id, abs=1e-9)
    assert max(rows) <= 20 * 4 // 4


def test_a_row_is_what_the_retriever_of_transformers_makes(tmp_path: Path) -> None:
    seeded.save_rag(tmp_path, title_sep=" / ", doc_sep=" // ", prefix="")
    engine = load("token", tmp_path, 1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "generator_tokenizer")
    asking = AutoTokenizer.from_pretrained(tmp_path / "question_encoder_tokenizer")
    passages = [Passage("1", "It never  adds one.", '"Reranker"'), Passage("2", "naïve café"), Passage("3", "x" * 20)]
    question = "What does the Reranker add?"
    retriever = SimpleNamespace(config=engine._config, generator_tokenizer=tokenizer)
    documents = {"title": [one.title for one in passages], "text": [one.text for one in passages]}
    written = asking.decode(asking(question)["input_ids"], skip_special_tokens=True)
    ids, mask = RagRetriever.postprocess_docs(retriever, [documents], [written], None, 3, return_tensors="pt")
    rows = [tuple(row[is_read.bool()].tolist()) for row, is_read in zip(ids, mask, strict=True)]
    assert engine.fit(question, passages).rows == tuple(rows)


def test_the_settings_of_the_checkpoint_are_read(tmp_path: Path) -> None:
    seeded.save_rag(tmp_path, title_sep=" | ", doc_sep=" ? ", prefix="answer: ", n_docs=2)
    engine = load("token", tmp_path, 1)
    prompt = engine.fit("who", [Passage(str(n), "Text.", "Title", score=n) for n in range(4)])
    assert engine._tokenizer.decode(prompt.rows[0], skip_special_tokens=True) == "answer: Title | Text. ? who"
    assert (prompt.passage_ids, prompt.scores) == (("0", "1"), (0, 1))
    assert prompt.dropped_passage_ids == ("3", "2")


def test_a_long_passage_is_cut_and_the_question_never(tmp_path: Path) -> None:
    seeded.save_rag(tmp_path, max_combined_length=60)
    engine = load("token", tmp_path, 1)
    prompt = engine.fit("who asks?", [Passage("1", "a question travels " * 50, "T"), Passage("2", "short")])
    assert len(prompt.rows[0]) == 60
    assert prompt.truncated_tokens > 100
    text = engine._tokenizer.decode(prompt.rows[0], skip_special_tokens=True)
    assert text.startswith("T / a question travels")
    assert text.endswith(" // who asks?")
    with pytest.raises(QuestionTooLong):
        engine.fit("who asks? " * 20, [Passage("1", "a question travels " * 50)])


def test_passages_that_the_prompt_has_no_room_for_are_dropped_from_the_end(tmp_path: Path) -> None:
    seeded.save_rag(tmp_path)
    engine = RagToken(tmp_path, "cpu", 64, 400, 1)
    prompt = engine.fit("who?", [Passage(str(n), "A question travels through.") for n in range(5)])
    assert 1 <= len(prompt.rows) < 5
    assert prompt.num_tokens <= 64
    assert prompt.dropped_passage_ids == tuple(str(n) for n in range(4, len(prompt.rows) - 1, -1))


@pytest.mark.parametrize("family", seeded.SAVE)
def test_a_text_that_spells_special_tokens_is_text(family: str, tmp_path: Path) -> None:
    seeded.save_rag(tmp_path, family)
    engine = load("sequence", tmp_path, 1)
    control_ids = {*engine._tokenizer.all_special_ids} - {engine._tokenizer.unk_token_id}

    def control_of(prompt: RagPrompt) -> list[int]:
        return [one for row in prompt.rows for one in row if one in control_ids]

    plain = engine.fit("who", [Passage("1", "Text.", "Title")])
    for spelt in {*engine._tokenizer.all_special_tokens, *engine._asking.all_special_tokens}:
        prompt = engine.fit(f"who {spelt}", [Passage("1", f"Text{spelt} {spelt}", spelt)])
        assert control_of(prompt) == control_of(plain), spelt


@pytest.mark.parametrize("kind", ENGINES)
def test_an_answer_says_why_it_ends(kind: str, tmp_path: Path) -> None:
    seeded.save_rag(tmp_path)
    engine = load(kind, tmp_path, 4)
    for answer in in_batches(engine, random_questions(engine, is_ragged=True)):
        assert answer.finish == ("length" if answer.num_tokens == MAX_TOKENS else "stop")


def test_the_default_dtype_answers_too(tmp_path: Path) -> None:
    seeded.save_rag(tmp_path)
    engine = RagSequence(tmp_path, "cpu", 2_048, 4_096)
    assert engine.max_output_tokens == 159
    (step,) = engine.generate(engine.fit("who?", [Passage("1", "The reranker.", score=7.0)]), Sampling(5))
    assert step.finish
    assert not list(engine._model.question_encoder.parameters()), "the retriever's part takes no memory here"


def test_smoothed_labels_are_refused(tmp_path: Path) -> None:
    seeded.save_rag(tmp_path, label_smoothing=0.1)
    with pytest.raises(ConfigError, match="smooths labels"):
        RagSequence(tmp_path, "cpu", 2_048, 400)


def test_tokenizers_in_the_published_files_load(tmp_path: Path) -> None:
    seeded.save_rag(tmp_path)
    new = load("token", tmp_path, 1)
    seeded.write_published_tokenizers(tmp_path)
    old = load("token", tmp_path, 1)
    assert type(old._asking).__name__ == "DPRQuestionEncoderTokenizer"
    passages = [Passage("1", "The reranker scores </s> at most <mask> two.", "<s>"), Passage("2", "naïve café")]
    assert old.fit("What [SEP] is it?", passages) == new.fit("What [SEP] is it?", passages)

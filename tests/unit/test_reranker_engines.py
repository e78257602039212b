"""What the two engines say of a pair, against what transformers and plain arithmetic say."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from chassis import checkpoint
from chassis.config import ConfigError
from chassis.pretrained import load_tokenizer
from chassis.tokens import estimate_tokens
from services.reranker.cross_encoder import MIN_PASSAGE_TOKENS, CrossEncoder
from services.reranker.late_interaction import LateInteraction
from services.reranker.pairs import Judgement, Pair, PairTokenizer, passage_text
from services.reranker.service import Engine
from tests.unit import seeded_rerankers as seeded

QUESTION = "how long does the drain wait?"
OTHER_QUESTION = "what is trivium"
LONG = "question passage " * 60
PAIRS = [
    Pair(QUESTION, "the drain of a replica waits for load balancers"),
    Pair(QUESTION, "deadline passed"),
    Pair(QUESTION, "reranker scores every candidate, each on its own"),
    Pair(QUESTION, LONG),
    Pair(OTHER_QUESTION, "the drain of a replica waits for load balancers"),
    Pair(OTHER_QUESTION, LONG),
    Pair(OTHER_QUESTION, "a"),
]
SEEDED_LENGTH = 64
"""Tokens that the seeded models read at most; the engines are told 512 and find out."""

Save = Callable[[Path], Path]
CROSS_ENCODERS = {"bert": seeded.save_bert_cross_encoder, "roberta": seeded.save_roberta_cross_encoder}


def bert_cross_encoder(path: Path) -> Engine:
    return CrossEncoder(seeded.save_bert_cross_encoder(path), "cpu", 512)


def roberta_cross_encoder(path: Path) -> Engine:
    return CrossEncoder(seeded.save_roberta_cross_encoder(path), "cpu", 512)


def late_interaction(path: Path) -> Engine:
    return LateInteraction(seeded.save_bert_encoder(path), "cpu", 512)


@pytest.fixture(params=[bert_cross_encoder, roberta_cross_encoder, late_interaction])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    built: Engine = request.param(tmp_path)
    return built


def judge(engine: Engine, *pairs: Pair) -> list[Judgement]:
    return list(engine.run(engine.prepare(pairs)))


def logits(engine: Engine, *pairs: Pair) -> list[float]:
    return [judgement.logit for judgement in judge(engine, *pairs)]


def transformers_logits(path: Path, pair: Pair) -> list[float]:
    """What transformers itself says of one pair, alone."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
    inputs = tokenizer(*pair, truncation="only_second", max_length=SEEDED_LENGTH, padding=False, return_tensors="pt")
    with torch.inference_mode():
        outputs: list[float] = model(**inputs).logits[0].tolist()
    return outputs


@pytest.mark.parametrize("save", CROSS_ENCODERS.values(), ids=CROSS_ENCODERS)
def test_a_cross_encoder_says_what_transformers_says(save: Save, tmp_path: Path) -> None:
    cross_encoder = CrossEncoder(save(tmp_path), "cpu", 512)
    expected = [transformers_logits(tmp_path, pair)[0] for pair in PAIRS]
    assert max(expected) - min(expected) > 0.01
    assert logits(cross_encoder, *PAIRS) == pytest.approx(expected, abs=1e-5)


def test_token_types_tell_question_from_passage(tmp_path: Path) -> None:
    cross_encoder = CrossEncoder(seeded.save_bert_cross_encoder(tmp_path), "cpu", 512)
    batch = cross_encoder.prepare(PAIRS)
    batch.inputs["token_type_ids"].zero_()
    without_types = [judgement.logit for judgement in cross_encoder.run(batch)]
    assert without_types != pytest.approx(logits(cross_encoder, *PAIRS), abs=1e-3)


def test_two_labels_are_scored_by_their_difference(tmp_path: Path) -> None:
    cross_encoder = CrossEncoder(seeded.save_bert_cross_encoder(tmp_path, num_labels=2), "cpu", 512)
    irrelevant, relevant = transformers_logits(tmp_path, PAIRS[0])
    assert logits(cross_encoder, PAIRS[0]) == pytest.approx([relevant - irrelevant], abs=1e-5)


def test_a_classifier_with_more_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 3 labels"):
        CrossEncoder(seeded.save_bert_cross_encoder(tmp_path, num_labels=3), "cpu", 512)


def test_an_encoder_is_no_cross_encoder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a model for AutoModelForSequenceClassification"):
        CrossEncoder(seeded.save_bert_encoder(tmp_path), "cpu", 512)


def test_late_interaction_is_weighted_max_sim_and_the_cosine_of_means(tmp_path: Path) -> None:
    engine = late_interaction(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    bare = {token_id: token.removeprefix("##") for token, token_id in tokenizer.get_vocab().items()}
    first = min(token_id for token_id, token in bare.items() if token.isalpha() and len(token) > 1)

    def weigh(text: str) -> list[float]:
        ids = tokenizer(text, add_special_tokens=False, padding=False).input_ids
        weights = [0.2 + math.log(1 + max(0, token_id - first) / 100) for token_id in ids]
        return [weight / sum(weights) for weight in weights]

    def encode(text: str) -> torch.Tensor:
        inputs = tokenizer(text, truncation=True, max_length=SEEDED_LENGTH, padding=False, return_tensors="pt")
        with torch.inference_mode():
            states: torch.Tensor = model(**inputs).last_hidden_state[0]
        return states

    for pair in PAIRS:
        question, passage = encode(pair.question), encode(pair.passage)
        best = [
            max(torch.cosine_similarity(one, other, dim=0).item() for other in passage[1:-1]) for one in question[1:-1]
        ]
        pooled = torch.cosine_similarity(question.mean(0), passage.mean(0), dim=0).item()
        weighted = list(zip(weigh(pair.question), best, strict=True))
        assert len({weight for weight, _ in weighted}) > 1
        (judgement,) = judge(engine, pair)
        assert judgement.logit == pytest.approx(sum(weight * one for weight, one in weighted) + 0.75 * pooled, abs=1e-5)
        soft = -math.log(sum(weight * math.exp(-6 * one) for weight, one in weighted)) / 6
        assert judgement.evidence == pytest.approx(soft + pooled / 2, abs=1e-5)


def test_one_word_that_a_passage_misses_costs_more_of_the_evidence_than_of_the_logit() -> None:
    engine = LateInteraction(checkpoint.find("embedded").path, "cpu", 512)
    passage = "The statistics module computes the mean, the median and the variance of numeric data."
    answered, missed = judge(
        engine,
        Pair("Which statistics function computes the variance of data?", passage),
        Pair("Which statistics function computes the kurtosis of data?", passage),
    )
    assert 0 < missed.evidence / answered.evidence < missed.logit / answered.logit < 1
    assert missed.evidence < missed.logit


def test_a_cross_encoders_evidence_is_its_logit(tmp_path: Path) -> None:
    for judgement in judge(bert_cross_encoder(tmp_path), *PAIRS):
        assert judgement.evidence == judgement.logit


def test_a_rarer_word_weighs_more_and_a_letter_least() -> None:
    tokenizer = PairTokenizer(load_tokenizer(checkpoint.find("embedded").path))
    (text,) = tokenizer.split(["the k question kurtosis"])
    the, letter, question, kurt, *_ = tokenizer.rarities(text)
    assert the == letter == pytest.approx(0.2)
    assert letter < question < kurt


def test_late_interaction_reads_a_question_once_a_batch(tmp_path: Path) -> None:
    engine = late_interaction(tmp_path)
    num_question_tokens = engine.count_tokens(QUESTION) + 2
    judgements = judge(engine, Pair(QUESTION, "deadline"), Pair(QUESTION, "deadline passed"))
    assert [one.num_tokens for one in judgements] == [3 + num_question_tokens, 4]
    assert engine.prepare([Pair(QUESTION, "deadline")] * 5).num_tokens == 5 * 3 + num_question_tokens


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(Pair("\u200b", "a passage"), id="question"),
        pytest.param(Pair("a question", "\u200b"), id="passage"),
    ],
)
def test_a_side_without_a_word_gets_a_finite_score(pair: Pair, tmp_path: Path) -> None:
    engine = late_interaction(tmp_path)
    assert min(map(engine.count_tokens, pair)) == 0
    (without_words, with_words) = logits(engine, pair, Pair("a question", "a passage"))
    assert -2 <= without_words <= 0 < with_words


def test_a_logit_is_the_same_alone_and_with_others_in_any_order(engine: Engine) -> None:
    alone = {pair: logits(engine, pair)[0] for pair in PAIRS}
    for seed in range(3):
        shuffled = random.Random(seed).sample(PAIRS, len(PAIRS))
        assert logits(engine, *shuffled) == pytest.approx([alone[pair] for pair in shuffled], abs=1e-5)


def test_a_passage_that_fits_is_read_whole(engine: Engine) -> None:
    assert judge(engine, PAIRS[1])[0].reading.truncated_tokens == 0


def test_a_passage_is_cut_and_what_is_lost_is_counted(engine: Engine) -> None:
    cut, whole = judge(engine, Pair(QUESTION, LONG), Pair(OTHER_QUESTION, "a"))
    lost_less = judge(engine, Pair(QUESTION, LONG[: -len(" passage ")]))[0]
    dropped = engine.count_tokens(LONG) - engine.count_tokens(LONG[: -len(" passage ")])
    assert cut.reading.truncated_tokens - lost_less.reading.truncated_tokens == dropped > 0
    assert cut.logit == pytest.approx(lost_less.logit, abs=1e-5)
    assert whole.reading.truncated_tokens == 0


def test_truncation_accounts_for_every_token(tmp_path: Path) -> None:
    engine = bert_cross_encoder(tmp_path)
    (judgement,) = judge(engine, Pair(QUESTION, LONG))
    texts = engine.count_tokens(QUESTION) + engine.count_tokens(LONG)
    assert judgement.num_tokens == SEEDED_LENGTH
    assert judgement.num_tokens + judgement.reading.truncated_tokens == texts + len(["[CLS]", "[SEP]", "[SEP]"])


def test_the_longest_question_is_read_to_its_end(engine: Engine) -> None:
    question = "a" * engine.max_question_tokens
    changed = question[:-1] + "?"
    assert engine.count_tokens(question) == engine.count_tokens(changed) == engine.max_question_tokens
    assert logits(engine, Pair(question, LONG)) != pytest.approx(logits(engine, Pair(changed, LONG)), abs=1e-5)


def test_the_longest_question_leaves_room_for_a_passage(tmp_path: Path) -> None:
    engine = bert_cross_encoder(tmp_path)
    question = "a" * engine.max_question_tokens
    (judgement,) = judge(engine, Pair(question, "a " * MIN_PASSAGE_TOKENS))
    assert (judgement.num_tokens, judgement.reading.truncated_tokens) == (SEEDED_LENGTH, 0)


def test_max_length_shortens_what_is_read(tmp_path: Path) -> None:
    engine = CrossEncoder(seeded.save_bert_cross_encoder(tmp_path), "cpu", 48)
    assert judge(engine, Pair(QUESTION, LONG))[0].num_tokens == 48


def test_a_spelt_separator_ends_no_passage(engine: Engine) -> None:
    pair = Pair("a [SEP] a </s> a", "[CLS] question [SEP] <s> passage </s> [PAD] <pad>")
    tokens = judge(engine, pair)[0].num_tokens
    assert tokens > judge(engine, Pair("a a a", "question passage"))[0].num_tokens + 8
    (alone,) = logits(engine, pair)
    assert logits(engine, Pair(QUESTION, LONG), pair)[1] == pytest.approx(alone, abs=1e-5)


def test_a_cost_never_exceeds_what_can_be_read(engine: Engine) -> None:
    assert engine.cost(Pair("a", "a")) >= 2
    assert engine.cost(Pair("a" * 8_192, "a" * 100_000)) <= 2 * SEEDED_LENGTH


def test_estimated_costs_are_near_the_embedded_models_tokens() -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.find("embedded").path)
    english = "A replica that drains tells its load balancer first, then refuses new calls and lets running ones end."
    chinese = "副本在停止服务之前会先通知负载均衡器，然后拒绝新的调用，并让正在运行的调用结束。"
    for text in (english * 3, chinese * 3):
        num_tokens = len(tokenizer(text, padding=False, truncation=False).input_ids)
        assert num_tokens / 1.5 < estimate_tokens(text) < num_tokens * 1.5


def test_a_passage_is_read_below_its_title_and_headings() -> None:
    assert passage_text("Operations", ["Drain", "Delay"], "It waits.") == "Operations\nDrain > Delay\nIt waits."
    assert passage_text("", [], "It waits.") == "It waits."


def test_the_embedded_model_prefers_the_passage_that_answers() -> None:
    engine = LateInteraction(checkpoint.find("embedded").path, "cpu", 512)
    answer = "A replica that drains waits one second for load balancers, then refuses calls."
    others = ["Bananas are yellow when they are ripe.", "The index is published by one atomic flip of a pointer."]
    scores = logits(engine, *(Pair("How long does a draining replica wait?", text) for text in (answer, *others)))
    assert scores[0] > max(scores[1:]) + 0.3

"""Encoders give what their libraries give, however their batches are formed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, DPRContextEncoder, DPRQuestionEncoder, RagTokenForGeneration

from chassis import checkpoint
from chassis.config import ConfigError
from services.retriever.encoder import Encoder, Side, Text, load
from tests.unit import seeded_generators
from tests.unit.seeded_encoders import MAX_TOKENS, write_dpr_pair, write_sentence_encoder

TEXTS = [
    Text("The index is made by one writer."),
    Text("of"),
    Text("A question and a passage, made of words that this one never saw before.", "Title > Heading"),
    Text("writer " * 90, "Too long"),
    Text("x" * 7, "One"),
]
TOLERANCE = 1e-5

SENTENCE_LAYOUTS = {
    "mean, normalised": {"pooling": "mean", "normalize": True},
    "mean, not normalised": {"pooling": "mean", "normalize": False},
    "cls, normalised": {"pooling": "cls", "normalize": True},
    "cls, not normalised": {"pooling": "cls", "normalize": False},
    "prompts": {"prompts": {"query": "question: ", "document": "passage: "}},
    "the passage prompt by its other name": {"prompts": {"query": "a ", "passage": "the "}},
}


def load_sentence(path: Path, side: Side) -> Encoder:
    found = checkpoint.find(str(path))
    return load("sentence", side, found, found, "cpu")


def load_dpr(paths: tuple[Path, Path], side: Side) -> Encoder:
    question, passage = (checkpoint.find(str(path)) for path in paths)
    return load("dpr", side, question, passage, "cpu")


def encode(encoder: Encoder, texts: list[Text]) -> NDArray[np.float32]:
    return np.stack([encoded.vector for encoded in encoder.run(encoder.prepare(texts))])


def require_equal_in_every_batch(encoder: Encoder, expected: NDArray[np.float32]) -> None:
    together = encode(encoder, TEXTS)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, expected, atol=TOLERANCE, rtol=0)
    alone = np.concatenate([encode(encoder, [text]) for text in TEXTS])
    np.testing.assert_allclose(alone, expected, atol=TOLERANCE, rtol=0)
    order = random.Random(0).sample(range(len(TEXTS)), len(TEXTS))
    shuffled = encode(encoder, [TEXTS[number] for number in order])
    np.testing.assert_allclose(shuffled, expected[order], atol=TOLERANCE, rtol=0)
    assert np.abs(expected - expected[0])[1:].max() > 0.01, "a model that cannot tell texts apart proves nothing"


def joined(text: Text) -> str:
    return f"{text.heading}\n{text.text}" if text.heading else text.text


@pytest.mark.parametrize("layout", SENTENCE_LAYOUTS.values(), ids=SENTENCE_LAYOUTS.keys())
@pytest.mark.parametrize("side", ["question", "passage"])
def test_a_sentence_encoder_equals_sentence_transformers(tmp_path: Path, layout: dict[str, str], side: Side) -> None:
    path = write_sentence_encoder(tmp_path, **layout)  # type: ignore[arg-type]
    theirs = SentenceTransformer(str(path), device="cpu", local_files_only=True)
    encode_theirs: Callable[[list[str]], NDArray[np.float32]] = (
        theirs.encode_query if side == "question" else theirs.encode_document
    )
    expected = encode_theirs([joined(text) for text in TEXTS])
    require_equal_in_every_batch(load_sentence(path, side), expected)


def test_the_embedded_encoder_equals_sentence_transformers() -> None:
    found = checkpoint.find("embedded")
    theirs = SentenceTransformer(str(found.path), device="cpu", local_files_only=True)
    texts = [Text("Who writes the index?"), Text("fsync " * 150, "Log"), Text("索引由一个进程写入。")]
    ours = encode(load("sentence", "question", found, found, "cpu"), texts)
    np.testing.assert_allclose(ours, theirs.encode_query([joined(text) for text in texts]), atol=TOLERANCE, rtol=0)


def test_a_dpr_question_encoder_equals_transformers(tmp_path: Path) -> None:
    paths = write_dpr_pair(tmp_path)
    model = DPRQuestionEncoder.from_pretrained(paths[0]).eval()
    features = AutoTokenizer.from_pretrained(paths[0])(
        [text.text for text in TEXTS], padding=True, truncation=True, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = model(**features).pooler_output.numpy()
    require_equal_in_every_batch(load_dpr(paths, "question"), expected)


def test_a_dpr_passage_encoder_equals_transformers_reading_title_and_text_as_two_segments(tmp_path: Path) -> None:
    paths = write_dpr_pair(tmp_path)
    model = DPRContextEncoder.from_pretrained(paths[1]).eval()
    features = AutoTokenizer.from_pretrained(paths[1])(
        [text.heading for text in TEXTS],
        [text.text for text in TEXTS],
        padding=True,
        truncation=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        expected = model(**features).pooler_output.numpy()
    require_equal_in_every_batch(load_dpr(paths, "passage"), expected)


@pytest.mark.parametrize("kind", ["sentence", "dpr"])
def test_special_tokens_that_a_text_spells_are_text(tmp_path: Path, kind: str) -> None:
    if kind == "sentence":
        encoder = load_sentence(write_sentence_encoder(tmp_path), "question")
    else:
        encoder = load_dpr(write_dpr_pair(tmp_path), "question")
    [tokens] = encoder.prepare([Text("one [SEP] [CLS] [MASK] [PAD] writer")]).features["input_ids"].tolist()
    assert [token for token in tokens if token in (0, 2, 3, 4)] == [2, 3], "only the template's own [CLS] and [SEP]"


@pytest.mark.parametrize("kind", ["sentence", "dpr"])
def test_tokens_that_do_not_fit_are_counted(tmp_path: Path, kind: str) -> None:
    if kind == "sentence":
        encoder = load_sentence(write_sentence_encoder(tmp_path), "passage")
    else:
        encoder = load_dpr(write_dpr_pair(tmp_path), "question")
    long, short = encoder.run(encoder.prepare([Text("writer " * 80), Text("writer " * 3)]))
    assert (long.num_tokens, long.truncated_tokens) == (MAX_TOKENS, 82 - MAX_TOKENS)
    assert (short.num_tokens, short.truncated_tokens) == (5, 0)


def test_a_batch_counts_its_tokens_with_and_without_padding(tmp_path: Path) -> None:
    encoder = load_sentence(write_sentence_encoder(tmp_path), "question")
    batch = encoder.prepare([Text("one"), Text("one writer and a question")])
    assert (batch.num_tokens, batch.num_padded_tokens) == (3 + 7, 2 * 7)


def test_the_cost_of_a_text_is_never_above_what_the_model_reads(tmp_path: Path) -> None:
    encoder = load_sentence(write_sentence_encoder(tmp_path), "question")
    assert encoder.cost(Text("one")) < encoder.cost(Text("one writer and a question")) < MAX_TOKENS
    assert encoder.cost(Text("writer " * 1_000_000)) == MAX_TOKENS


def test_both_sides_of_an_encoder_have_one_fingerprint(tmp_path: Path) -> None:
    sentence = write_sentence_encoder(tmp_path, prompts={"query": "question: ", "document": "passage: "})
    assert load_sentence(sentence, "question").fingerprint == load_sentence(sentence, "passage").fingerprint
    pair = write_dpr_pair(tmp_path)
    assert load_dpr(pair, "question").fingerprint == load_dpr(pair, "passage").fingerprint


@pytest.mark.parametrize(
    ("change", "property_name"),
    [
        ({"pooling": "cls"}, "modules"),
        ({"normalize": False}, "modules"),
        ({"prompts": {"query": "q: ", "document": ""}}, "question_prompt"),
        ({"prompts": {"query": "", "document": "d: "}}, "passage_prompt"),
        ({"seed": 1}, "weights"),
    ],
    ids=["pooling", "normalisation", "question prompt", "passage prompt", "weights"],
)
def test_the_fingerprint_tells_encoders_apart(tmp_path: Path, change: dict[str, str], property_name: str) -> None:
    ours = load_sentence(write_sentence_encoder(tmp_path / "a"), "question").fingerprint
    other = load_sentence(write_sentence_encoder(tmp_path / "b", **change), "question").fingerprint  # type: ignore[arg-type]
    assert {name for name in ours if ours[name] != other[name]} == {property_name}


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    question, _ = write_dpr_pair(tmp_path)
    with pytest.raises(ConfigError, match="DPRContextEncoder"):
        load_dpr((question, question), "passage")


@pytest.mark.parametrize(("kind", "num_special"), [("sentence", 2), ("dpr", 3)])
def test_the_splitter_is_told_how_many_tokens_are_read(tmp_path: Path, kind: str, num_special: int) -> None:
    if kind == "sentence":
        encoder = load_sentence(write_sentence_encoder(tmp_path), "passage")
    else:
        encoder = load_dpr(write_dpr_pair(tmp_path), "passage")
    token_ends = encoder.token_ends()
    assert list(token_ends("one writer")) == [3, 10]
    assert len(token_ends("one writer, and [SEP]")) == 4 + 5
    assert len(token_ends("writer " * 1_000)) == 1_000
    fits = Text(" ".join(["writer"] * encoder.max_text_tokens))
    assert encoder.max_text_tokens == MAX_TOKENS - num_special
    assert encoder.run(encoder.prepare([fits]))[0].truncated_tokens == 0


def test_a_layout_with_the_transformer_in_a_folder_of_its_own_loads_too(tmp_path: Path) -> None:
    path = write_sentence_encoder(tmp_path)
    expected = encode(load_sentence(path, "question"), TEXTS)
    modules = json.loads((path / "modules.json").read_text())
    folder = path / "0_Transformer"
    folder.mkdir()
    for file in [file for file in path.iterdir() if file.is_file()]:
        if file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(folder / file.name)
    modules[0]["path"] = folder.name
    (path / "modules.json").write_text(json.dumps(modules))
    encoder = load_sentence(path, "question")
    np.testing.assert_array_equal(encode(encoder, TEXTS), expected)
    assert list(encoder.token_ends()("one writer")) == [3, 10]


def test_the_question_encoder_of_a_rag_checkpoint_equals_transformers_and_is_told_apart(tmp_path: Path) -> None:
    question, passage = write_dpr_pair(tmp_path / "dpr")
    rag = tmp_path / "rag"
    seeded_generators.save_rag(rag, seed=5)
    encoder = load_dpr((rag, passage), "question")
    model = RagTokenForGeneration.from_pretrained(rag).eval().question_encoder
    tokenizer = AutoTokenizer.from_pretrained(rag / "question_encoder_tokenizer")
    texts = [text.text for text in TEXTS]
    features = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    with torch.no_grad():
        expected = model(**features).pooler_output.numpy()
    require_equal_in_every_batch(encoder, expected)
    assert encoder.fingerprint == load_dpr((rag, passage), "passage").fingerprint
    original = load_dpr((question, passage), "question").fingerprint
    assert {name for name in original if original[name] != encoder.fingerprint[name]} == {"question_weights"}


def test_a_rag_checkpoint_with_another_question_encoder_is_refused(tmp_path: Path) -> None:
    _, passage = write_dpr_pair(tmp_path / "dpr")
    seeded_generators.save_rag(tmp_path / "rag")
    config = tmp_path / "rag" / "config.json"
    stored = json.loads(config.read_text())
    stored["question_encoder"] = {"model_type": "bert"}
    config.write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match="only DPR"):
        load_dpr((tmp_path / "rag", passage), "question")

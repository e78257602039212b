"""RAG-sequence in batches against transformers' own, which goes question by question.

Seconds are those of the one thread that computes: what else the machine does in these minutes is not counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import workload
from benchmarks.figures import Figure, spread
from benchmarks.floors import Floors
from benchmarks.scale import Scale

if TYPE_CHECKING:
    from services.generator.engine import Asked
    from services.generator.prompts.rag_prompt import RagPrompt

NUM_PASSAGES = 5
NUM_BEAMS = 4
MAX_TOKENS = 16
MAX_ROUNDS = 1
"""A question takes transformers half a minute on one core."""

TARGET = 3.0


def sequence(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Questions a CPU second of a random model in the shape of bart-base, 5 passages and 4 beams. Both on one core."""
    bare.measure(save, folder, scale.rag_width)
    texts = passages(scale.num_rag_questions * NUM_PASSAGES)
    questions = workload.questions(scale.num_rag_questions)
    stock, batched = [], []
    for _ in range(min(scale.rounds, MAX_ROUNDS)):
        stock.append(bare.measure(stock_rate, folder, questions, texts))
        batched.append(bare.measure(batched_rate, folder, questions, texts))
    ratios = [mine / theirs for mine, theirs in zip(batched, stock, strict=True)]
    details = {
        "questions_per_cpu_s": spread(batched, 4),
        "transformers_questions_per_cpu_s": spread(stock, 4),
        "questions_in_a_batch": scale.num_rag_questions,
    }
    return Figure("rag-sequence", spread(ratios), TARGET, is_floor=True, details=details)


def passages(number: int) -> list[str]:
    """Of 100 words each, as those that RAG models were trained with (Lewis et al. 2020, section 3)."""
    words = " ".join(workload.texts(6 * number)).split()
    return [" ".join(words[start : start + 100]) for start in range(0, 100 * number, 100)]


def save(folder: Path, width: int) -> None:
    """A checkpoint with random weights and the embedded model's tokenizer. 768 wide it is shaped as bart-base."""
    import torch
    from transformers import AutoTokenizer, BartConfig, DPRConfig, RagConfig, RagSequenceForGeneration

    from chassis import checkpoint, pretrained  # noqa: F401 (which silences progress bars)

    tokenizer = AutoTokenizer.from_pretrained(checkpoint.find("embedded").path)
    ids = {"bos_token_id": 101, "eos_token_id": 102, "pad_token_id": 0, "decoder_start_token_id": 102}
    depth = {"encoder_layers": 6, "decoder_layers": 6, "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width}
    bart = BartConfig(vocab_size=50_265, d_model=width, init_std=0.1, **depth, **ids)
    asking = DPRConfig(num_hidden_layers=1, hidden_size=48, intermediate_size=48)
    torch.manual_seed(0)
    config = RagConfig.from_question_encoder_generator_configs(asking, bart, vocab_size=bart.vocab_size, **ids)
    RagSequenceForGeneration(config).save_pretrained(folder)
    for name in ("question_encoder_tokenizer", "generator_tokenizer"):
        tokenizer.save_pretrained(folder / name)


def batched_rate(folder: Path, questions: Sequence[str], texts: Sequence[str]) -> float:
    """Questions a CPU second, all in one batch."""
    engine, asked = _engine(folder, questions, texts)
    began = time.process_time()
    engine.run(engine.prepare(asked))
    return len(asked) / (time.process_time() - began)


def stock_rate(folder: Path, questions: Sequence[str], texts: Sequence[str]) -> float:
    """Questions a CPU second, each given to `generate` when the one before is answered."""
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from transformers import RagSequenceForGeneration

    _, asked = _engine(folder, questions, texts)
    model = RagSequenceForGeneration.from_pretrained(folder).eval()
    torch.set_num_threads(1)
    began = time.process_time()
    for one in asked:
        rows = [torch.tensor(row) for row in one.prompt.rows]
        token_ids = pad_sequence(rows, batch_first=True)
        model.generate(
            context_input_ids=token_ids,
            context_attention_mask=token_ids.ne(0).long(),
            doc_scores=torch.tensor([one.prompt.scores]),
            num_beams=NUM_BEAMS,
            do_sample=False,
            max_length=1 + MAX_TOKENS,
        )
    return len(asked) / (time.process_time() - began)


def _engine(folder: Path, questions: Sequence[str], texts: Sequence[str]) -> tuple[Any, list[Asked[RagPrompt]]]:
    import torch

    from services.generator.engine import Asked, Passage, Sampling
    from services.generator.engines.rag import RagSequence

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    engine = RagSequence(folder, "cpu", 2_048, MAX_TOKENS, NUM_BEAMS)
    torch.set_num_threads(1)
    asked = []
    for number, question in enumerate(questions):
        some = texts[number * NUM_PASSAGES : (number + 1) * NUM_PASSAGES]
        passages = [Passage(str(rank), text, score=70.0 - rank) for rank, text in enumerate(some)]
        asked.append(Asked(engine.fit(question, passages), Sampling(MAX_TOKENS)))
    return engine, asked

"""Small models with seeded random weights, saved as safetensors in the layouts that real ones have."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import (
    BertConfig,
    BertModel,
    DPRConfig,
    DPRContextEncoder,
    DPRQuestionEncoder,
    PreTrainedTokenizerFast,
)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("the", "index", "is", "made", "by", "one", "writer", "question", "passage", "of", "and", "a")
MAX_TOKENS = 64
SIZES: dict[str, float] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": MAX_TOKENS,
    # Weights as large as these tell texts apart as trained ones do; the default ones hardly do.
    "initializer_range": 0.3,
}

DPR_SIZES = {**SIZES, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
"""As wide as the published DPR models, and not as deep."""


def write_tokenizer(directory: Path) -> int:
    """A WordPiece tokenizer that can spell any ASCII word. Returns the size of its vocabulary."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*SPECIAL, *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    backend = Tokenizer(WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=MAX_TOKENS,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    tokenizer.save_pretrained(directory)
    return len(pieces)


def write_sentence_encoder(
    directory: Path,
    *,
    pooling: str = "mean",
    normalize: bool = True,
    prompts: dict[str, str] | None = None,
    seed: int = 0,
) -> Path:
    """A sentence-transformers layout around a small BERT."""
    bert = directory / "bert"
    vocabulary_size = write_tokenizer(bert)
    torch.manual_seed(seed)
    BertModel(BertConfig(vocab_size=vocabulary_size, **SIZES)).save_pretrained(bert)
    transformer = Transformer(str(bert))
    modules: list[torch.nn.Module] = [transformer, Pooling(transformer.get_embedding_dimension(), pooling)]
    if normalize:
        modules.append(Normalize())
    model = SentenceTransformer(modules=modules, prompts=prompts, device="cpu")
    model.save(str(directory / "layout"), create_model_card=False)
    return directory / "layout"


def write_dpr_pair(directory: Path, seed: int = 0, sizes: Mapping[str, float] = SIZES) -> tuple[Path, Path]:
    """DPR's two towers, with different weights: directories of question and passage encoder."""
    paths = directory / "question", directory / "passage"
    for number, (tower, path) in enumerate(zip((DPRQuestionEncoder, DPRContextEncoder), paths, strict=True)):
        vocabulary_size = write_tokenizer(path)
        torch.manual_seed(seed + number)
        tower(DPRConfig(vocab_size=vocabulary_size, **sizes)).save_pretrained(path)
    return paths

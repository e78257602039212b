"""Small models with seeded weights, saved as real ones are: safetensors, configuration, tokenizer."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

WORDS = re.findall(
    r"\w+",
    """the drain of a replica waits for load balancers and then refuses calls how long does it wait what is
    trivium question passage reranker scores every candidate index version published by one atomic flip tokens
    are spelt in text deadline passed on to each stage""",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789<>/[]_.,?"
BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
T5_TOKENS = ["<pad>", "</s>", "<unk>"]


def save_bert_tokenizer(path: Path, max_length: int = 64) -> None:
    """WordPiece as BERT's, with fixed padding and truncation in its file as some published ones have."""
    pieces = [*BERT_TOKENS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *dict.fromkeys(WORDS)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(path)


def save_roberta_tokenizer(path: Path, max_length: int = 64) -> None:
    """Byte-level BPE without merges, as BART's and RoBERTa's, special tokens in the vocabulary."""
    pieces = [*ROBERTA_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        cls_token="<s>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(path)


def save_t5_tokenizer(path: Path) -> None:
    """Unigram, as T5's: its control tokens are pieces of the vocabulary, with the best score of all."""
    pieces = [(token, 0.0) for token in T5_TOKENS]
    pieces += [("▁", -2.0), *((letter, -3.0) for letter in LETTERS), ("▁the", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=["<extra_id_0>", "<extra_id_1>"],
    ).save_pretrained(path)


def save_bert_cross_encoder(path: Path, num_labels: int = 1) -> Path:
    """A cross-encoder that reads at most 64 tokens and tells question from passage by token types."""
    save_bert_tokenizer(path)
    return _save(BertForSequenceClassification, BertConfig(**_bert_sizes(), num_labels=num_labels), path)


def save_bert_encoder(path: Path) -> Path:
    """An encoder that reads at most 64 tokens."""
    save_bert_tokenizer(path)
    return _save(BertModel, BertConfig(**_bert_sizes()), path)


def save_roberta_cross_encoder(path: Path) -> Path:
    """A cross-encoder that reads at most 64 tokens and counts positions from behind its padding id."""
    save_roberta_tokenizer(path, max_length=10**30)
    sizes = _bert_sizes() | {"vocab_size": 261, "max_position_embeddings": 66, "type_vocab_size": 1}
    config = RobertaConfig(**sizes, num_labels=1, pad_token_id=1, bos_token_id=0, eos_token_id=2)
    return _save(RobertaForSequenceClassification, config, path)


def _bert_sizes() -> dict[str, int | float]:
    return {
        "vocab_size": 256,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,
    }


def _save(model_class: type[PreTrainedModel], config: BertConfig | RobertaConfig, path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model_class(config).save_pretrained(path)
    return path

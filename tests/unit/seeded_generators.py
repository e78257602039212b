"""Small models with seeded weights and trained tokenizers, saved as real ones are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    DPRQuestionEncoder,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RagConfig,
    RagSequenceForGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.unit.seeded_encoders import write_dpr_pair

TEXTS = [
    "The reranker scores at most two hundred candidates. It never adds or drops one.",
    "A question travels through three services, and a trace follows it: why, how and when?",
    "Passages travel as text once per hop; vectors never leave the retriever.",
    "Größe, naïve café, 文档中的句子。 こんにちは 🙂 👩‍👩‍👧 < / s > _ 0 1 2 3 4 5 6 7 8 9",
    "question: what is the deadline? context: ten seconds unless told otherwise.",
]
BART_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
LLAMA_TOKENS = ["<unk>", "<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
T5_TOKENS = ["<pad>", "</s>", "<unk>", "<extra_id_0>", "<extra_id_1>"]


def save_bart(path: Path, **generation: Any) -> None:
    """Byte-level BPE; `<s> … </s>` around a text, decoding begins with `</s>`. 160 positions."""
    tokenizer = bart_tokenizer()
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=160,
        init_std=1.0,
    )
    _save(BartForConditionalGeneration(config), tokenizer, path, generation)


def save_t5(path: Path, **generation: Any) -> None:
    """Unigram; `… </s>`, decoding begins with `<pad>`. Relative positions."""
    tokenizer = t5_tokenizer()
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        initializer_factor=2.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    _save(T5ForConditionalGeneration(config), tokenizer, path, generation)


def save_llama(path: Path, **generation: Any) -> None:
    """BPE with bytes for what it does not know, as Llama 2 has it; `<s>` before a text. A chat template whose turns
    are between control tokens. 2,000 positions."""
    tokenizer = llama_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2_000,
        initializer_range=1.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    _save(LlamaForCausalLM(config), tokenizer, path, generation)


def save_gpt2(path: Path, num_positions: int = 2_000, **generation: Any) -> None:
    """Byte-level BPE; nothing around a text and no token for padding."""
    tokenizer = gpt2_tokenizer()
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=num_positions,
        initializer_range=1.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    _save(GPT2LMHeadModel(config), tokenizer, path, generation)


SAVE = {"bart": save_bart, "t5": save_t5}
SAVE_CAUSAL = {"llama": save_llama, "gpt2": save_gpt2}


def save_rag(path: Path, family: str = "bart", seed: int = 0, **settings: Any) -> None:
    """The layout of `facebook/rag-sequence-nq`: a DPR question encoder, a generator, and a tokenizer of each."""
    generator_path = path / "generator"
    SAVE[family](generator_path)
    generator = AutoModelForSeq2SeqLM.from_pretrained(generator_path)
    generator.generation_config = GenerationConfig()
    question_path, _ = write_dpr_pair(path, seed)
    encoder = DPRQuestionEncoder.from_pretrained(question_path)
    settings = {"max_combined_length": 120, **settings}
    config = RagConfig.from_question_encoder_generator_configs(encoder.config, generator.config, **settings)
    RagSequenceForGeneration(config, encoder, generator).save_pretrained(path)
    asking = AutoTokenizer.from_pretrained(question_path)
    asking.backend_tokenizer.decoder = decoders.WordPiece()
    asking.save_pretrained(path / "question_encoder_tokenizer")
    AutoTokenizer.from_pretrained(generator_path).save_pretrained(path / "generator_tokenizer")
    for other in (generator_path, path / "question", path / "passage"):
        shutil.rmtree(other)


def write_published_tokenizers(path: Path) -> None:
    """The tokenizers of a BART-shaped `save_rag` in the files that the published RAG checkpoints have."""
    folder = path / "question_encoder_tokenizer"
    vocabulary = {number: word for word, number in _emptied(folder)["model"]["vocab"].items()}
    words = [vocabulary.get(number, f"[unused{number}]") for number in range(1 + max(vocabulary))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 64}')
    folder = path / "generator_tokenizer"
    bpe = _emptied(folder)["model"]
    (folder / "vocab.json").write_text(json.dumps(bpe["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, bpe["merges"])) + "\n")
    (folder / "tokenizer_config.json").write_text("{}")


def _emptied(folder: Path) -> dict[str, Any]:
    """What tokenizer.json held."""
    held: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    for file in folder.iterdir():
        file.unlink()
    return held


def _byte_level(special_tokens: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=360,
            special_tokens=special_tokens,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def bart_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = _byte_level(BART_TOKENS)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        sep_token="</s>",
        cls_token="<s>",
        model_input_names=["input_ids", "attention_mask"],
    )


def t5_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.UnigramTrainer(vocab_size=300, special_tokens=T5_TOKENS, unk_token="<unk>", show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=T5_TOKENS[3:],
        model_input_names=["input_ids", "attention_mask"],
    )


def llama_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[*LLAMA_TOKENS, *bytes_],
        limit_alphabet=60,
        max_token_length=8,
        show_progress=False,
    )
    tokenizer.train_from_iterator((word for text in TEXTS for word in text.split(" ")), trainer)
    held = json.loads(tokenizer.to_str())
    held["added_tokens"] = held["added_tokens"][: len(LLAMA_TOKENS)]  # bytes are tokens like any other
    tokenizer = Tokenizer.from_str(json.dumps(held))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=LLAMA_TOKENS[4:],
        chat_template=CHAT_TEMPLATE,
        model_input_names=["input_ids", "attention_mask"],
    )


def gpt2_tokenizer() -> PreTrainedTokenizerFast:
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_level([end]),
        bos_token=end,
        eos_token=end,
        unk_token=end,
        model_input_names=["input_ids", "attention_mask"],
    )


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, path: Path, generation: dict[str, Any]) -> None:
    for name, value in generation.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)

"""Small trained tokenizers of decoder-only families, with the chat templates that such models come with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tests.unit.seeded_generators import TEXTS

CHAT_TEXTS = [
    *TEXTS,
    "Passages: [1] The deadline. Question: how long? Answer: ten seconds [2]. system user assistant model",
    "[INST] <<SYS>> <</SYS>> [/INST] < | > ! @ # $ % ^ & * ( ) { } ~ ` ' \" ; , + = \\ A B C D E F G H I J K L M N O P",
    "Q R S T U V W X Y Z a b c d e f g h i j k l m n o p q r s t u v w x y z",
]
LLAMA_3_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_2 = (
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}"
    "{% set system = '<<SYS>>\n' + messages[0].content.strip() + '\n<</SYS>>\n\n' %}"
    "{% else %}{% set rest = messages %}{% set system = '' %}{% endif %}"
    "{% for message in rest %}{{ bos_token + '[INST] ' + (system + message.content).strip() + ' [/INST]' }}{% endfor %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for message in messages %}<start_of_turn>{{ message.role }}\n{{ message.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
    "[INST] {{ message.content }}[/INST]{% endif %}{% endfor %}"
)
"""Passes over what a system says."""
PHI = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
DEEPSEEK = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}{{ message.content }}"
    "{% else %}<｜User｜>{{ message.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)
BRACKETS = "{% for message in messages %}[{{ message.role | upper }}] {{ message.content }} [SEP] {% endfor %}[BOT]"


def byte_level(specials: Sequence[str], words: str | None = None) -> Tokenizer:
    """As GPT-2, Qwen and Llama 3 have it."""
    tokenizer = Tokenizer(models.BPE())
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words is None)
    split = [pre_tokenizers.Split(Regex(words), "isolated")] if words else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, plain])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CHAT_TEXTS, trainer)
    return tokenizer


def byte_fallback(specials: Sequence[str], prepend_scheme: str = "first") -> Tokenizer:
    """As Llama 2, Mistral and Gemma have it: pieces of words, and bytes for what they lack."""
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.Metaspace()
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    learnt.train_from_iterator(
        CHAT_TEXTS, trainers.BpeTrainer(vocab_size=600, special_tokens=[*specials, *fallback], show_progress=False)
    )
    merges = [(left, right) for left, right in json.loads(learnt.to_str())["model"]["merges"]]
    tokenizer = Tokenizer(models.BPE(learnt.get_vocab(), merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def unigram(specials: Sequence[str]) -> Tokenizer:
    """As T5 has it, but with line breaks among its pieces."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.train_from_iterator(
        [*CHAT_TEXTS, "a\nb"],
        trainers.UnigramTrainer(vocab_size=400, special_tokens=list(specials), unk_token="<unk>", show_progress=False),
    )
    return tokenizer


def word_piece(specials: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        CHAT_TEXTS, trainers.WordPieceTrainer(vocab_size=500, special_tokens=list(specials), show_progress=False)
    )
    return tokenizer


def markers(*contents: str, is_special: bool, rstrip: bool = False) -> list[AddedToken]:
    return [AddedToken(content, special=is_special, rstrip=rstrip) for content in contents]


def begins(tokenizer: Tokenizer, token: str) -> Tokenizer:
    """Puts the token before every text, as Llama's do."""
    number = tokenizer.token_to_id(token)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{token} $A", special_tokens=[(token, number)])
    return tokenizer


def finished(
    tokenizer: Tokenizer, added: Sequence[AddedToken], chat_template: str | None, **named: str
) -> PreTrainedTokenizerFast:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
    fast.add_tokens(list(added))
    fast.chat_template = chat_template
    return fast


def chatml() -> PreTrainedTokenizerFast:
    """Its markers are added tokens that are not called special."""
    added = markers("<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", is_special=False)
    return finished(byte_level(["<|endoftext|>"]), added, CHATML, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def llama_3() -> PreTrainedTokenizerFast:
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    tokenizer = begins(byte_level(specials, LLAMA_3_WORDS), specials[0])
    return finished(
        tokenizer, markers(*specials, is_special=True), LLAMA_3, bos_token=specials[0], eos_token=specials[2]
    )


def llama_2() -> PreTrainedTokenizerFast:
    """[INST] and <<SYS>> are text to it."""
    tokenizer = begins(byte_fallback(["<unk>", "<s>", "</s>"]), "<s>")
    return finished(tokenizer, [], LLAMA_2, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def mistral() -> PreTrainedTokenizerFast:
    tokenizer = begins(byte_fallback(["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], "always"), "<s>")
    added = markers("[INST]", "[/INST]", is_special=True)
    return finished(tokenizer, added, MISTRAL, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def gemma() -> PreTrainedTokenizerFast:
    """Refuses a system, and has runs of line breaks and tags among its added tokens."""
    tokenizer = begins(byte_fallback(["<unk>", "<bos>", "<eos>"], "never"), "<bos>")
    added = markers("<start_of_turn>", "<end_of_turn>", is_special=True)
    added += markers("\n\n", "\n\n\n", "<table>", "</table>", is_special=False)
    return finished(tokenizer, added, GEMMA, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")


def phi() -> PreTrainedTokenizerFast:
    """Its markers take the white space behind them."""
    tokenizer = byte_fallback(["<unk>", "<s>", "</s>", "<|endoftext|>"])
    added = markers("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", is_special=True, rstrip=True)
    return finished(tokenizer, added, PHI, bos_token="<s>", eos_token="<|endoftext|>", unk_token="<unk>")


def deepseek() -> PreTrainedTokenizerFast:
    """Normalizes text before it looks for its markers."""
    added = markers("<｜User｜>", "<｜Assistant｜>", "<|im_end|>", is_special=False)
    tokenizer = unigram(["<unk>", "<bos>", "<eos>"])
    return finished(tokenizer, added, DEEPSEEK, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")


def brackets() -> PreTrainedTokenizerFast:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    added = markers("[SYSTEM]", "[USER]", "[BOT]", is_special=False)
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return finished(word_piece(specials), added, BRACKETS, mask_token="[MASK]", **named)


def gpt_2() -> PreTrainedTokenizerFast:
    """Without a chat template, and with a token before every text."""
    tokenizer = begins(byte_level(["<|endoftext|>"]), "<|endoftext|>")
    return finished(tokenizer, [], None, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


CHATS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "chatml": chatml,
    "llama-3": llama_3,
    "llama-2": llama_2,
    "mistral": mistral,
    "gemma": gemma,
    "phi": phi,
    "deepseek": deepseek,
    "brackets": brackets,
    "gpt-2": gpt_2,
}

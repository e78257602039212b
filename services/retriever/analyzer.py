"""How text becomes terms for BM25. Fixed when a collection is created."""

from __future__ import annotations

from dataclasses import dataclass

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

STEMMER_BY_LANGUAGE = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
"""ISO 639-1 code → tantivy's name of its Snowball stemmer."""

BIGRAM_LANGUAGES = frozenset({"ja", "ko", "zh"})
"""Written without spaces, or with words that take endings: searched by pairs of characters."""

LANGUAGES = frozenset(STEMMER_BY_LANGUAGE) | BIGRAM_LANGUAGES

WITHOUT_STOP_WORDS = BIGRAM_LANGUAGES | {"ar", "el", "ro", "ta", "tr"}
"""Languages for which tantivy has no list."""

ENGLISH_ASKING_WORDS = """
    how what which who whom whose when where why do does did can could should would i me my we you your am are was were
    has have had
"""
ASKING_WORDS_BY_LANGUAGE = {"en": ENGLISH_ASKING_WORDS.split()}
"""Words that ask, and say nothing of what is asked. In passages they are words like any other. Only languages whose
list in tantivy lacks them: its English one has 33 words."""

MAX_TERM_BYTES = 80
"""Longer words (encoded data, as a rule) are not indexed."""


@dataclass(frozen=True)
class Analyzer:
    """The settings, with every default filled in."""

    language: str
    stemming: bool
    stop_words: bool

    @classmethod
    def of(cls, language: str = "en", stemming: bool | None = None, stop_words: bool | None = None) -> Analyzer:
        """The settings that these, some of them left open, mean. A setting without effect is False."""
        return cls(
            language,
            stemming=language in STEMMER_BY_LANGUAGE and stemming is not False,
            stop_words=language not in WITHOUT_STOP_WORDS and stop_words is not False,
        )

    def build(self) -> TextAnalyzer:
        """The analyzer. The same text always gives the same terms."""
        return self._build([])

    def build_for_questions(self) -> TextAnalyzer:
        """The same, without the words that only ask. With stop words switched off they stay."""
        return self._build(ASKING_WORDS_BY_LANGUAGE.get(self.language, []) if self.stop_words else [])

    def _build(self, left_out: list[str]) -> TextAnalyzer:
        if self.language in BIGRAM_LANGUAGES:
            return TextAnalyzerBuilder(Tokenizer.ngram(2, 2, False)).filter(Filter.lowercase()).build()
        builder = TextAnalyzerBuilder(Tokenizer.simple())
        builder = builder.filter(Filter.remove_long(MAX_TERM_BYTES)).filter(Filter.lowercase())
        if left_out:
            builder = builder.filter(Filter.custom_stopword(left_out))
        name = STEMMER_BY_LANGUAGE[self.language]
        if self.stop_words:
            builder = builder.filter(Filter.stopword(name))
        if self.stemming:
            builder = builder.filter(Filter.stemmer(name))
        return builder.build()

"""A set of questions over this project's pages and the docstrings of Python's standard library.

`python -m tests.evaluation.documentation FOLDER` writes it in BEIR's layout: corpus.jsonl, queries.jsonl (with
`metadata.answers`, or `metadata.unanswerable`) and qrels/test.tsv. Both corpora are one, so that a question about one
has to be found beside the other; `--corpus` writes one of them alone.

**How it was made.** The questions were written by hand from the texts, as somebody might ask who has not read them,
and before any engine was asked one of them. None was changed or dropped because of what an engine did with it. Each
names the documents that state its answer (grade 2) and those that help (grade 1), and quotes the answer. Whoever
writes the set has every quotation checked against the texts of the day: a page of this project that no longer holds
an answer is an error that names the question; a docstring that the running Python words differently drops its
question, which is counted.

**Kinds**, settled before anything was measured. Answerable questions:

| kind | what |
|---|---|
| `plain` | a whole question, in mostly the words of the field |
| `other_words` | the thing described without the words that the text uses for it |
| `keywords` | a few words, as people type into a search field |
| `misspelt` | with slips of the keyboard |

Unanswerable ones, each looked up in both corpora by its telling words:

| kind | what |
|---|---|
| `elsewhere` | about something that these documents are not about at all |
| `neighbouring` | of the same field: other products and libraries, features that one might expect |
| `near_miss` | about a thing that the documents do describe, of which they do not state what is asked |

**What it cannot tell.** It is small: with some 340 answerable questions a difference of two points of nDCG is
within chance. It is English, and technical. The documents are short, so it says little about splitting long ones.
Mostly one document is judged relevant for each question, and others that would do as well count as wrong. Whoever
wrote the questions knew the documents, so they are easier than those of strangers. Pages that were written later are
left out.
"""

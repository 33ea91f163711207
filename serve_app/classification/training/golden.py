"""Conversations whose buckets and scores are pinned down, so that a port or a refactoring can be checked."""

import json
from collections.abc import Sequence
from typing import Any, Final

from serve_app.classification.features import extract
from serve_app.classification.scorer import OnnxScorer
from serve_app.contracts.assessment import Turn

# ruff: noqa: RUF001 - letters that look like Latin ones are the point
_TEXTS: Final = (
    "", " ", "\n\t\r ", "Hi!", "hi", "Hello, how are you?", "Thanks!", "Good morning", "ok", "?", "...",
    "1234567890", "A", "a b", "How do I give feedback to a colleague who is often late?", "How can I sleep better?",
    "I feel stuck in my career.",
    "My manager ignores my ideas and I am losing motivation. I tried to raise it twice. What should I do next?",
    "What is the capital of France?", "Explain entropy in simple terms.", "What is 17 * 23?",
    "Solve 3x + 5 = 20 for x.", "Write a haiku about rain.", "Rewrite this politely: send me the file now.",
    "Extract the date: the fair opens on 4 May 2031.", "Return JSON with name and city: Ada lives in Turin.",
    "Is this review positive? 'The soup was cold.'",
    "Prove that the square root of 2 is irrational, then generalise the proof to every non-square integer.",
    "A, B and C are knights or knaves. A says that B is a knave. B says that A and C are alike. Who is what?",
    "Three people must cross a bridge at night with one torch. Find the minimum time and prove it is optimal.",
    "Analyse the trade-offs between two pension schemes, state your assumptions, and derive when each is better.",
    "```python\ndef add(a, b):\n    return a + b\n```\nWhat does this do?", "SELECT name FROM users WHERE id = 7;",
    "for (int i = 0; i < n; ++i) { sum += a[i]; }",
    "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'x'",
    "\\int_0^\\infty e^{-x^2} dx = \\frac{\\sqrt{\\pi}}{2}", "∀x ∈ ℝ: x² ≥ 0 ⇒ ∑ x² ≥ 0", "½ ¾ ² ³ ™ ©",
    "naïve café Ångström ǅ ß İ ı ſ", "e\u0301 versus é", "Straße STRASSE strasse",
    "Wie bitte ich meine Chefin um mehr Gehalt?", "¿Cómo puedo dormir mejor?", "Как мне перестать откладывать дела?",
    "Ποια είναι η πρωτεύουσα της Ελλάδας;", "我怎样才能更好地管理时间？", "素数が無限に存在することを証明しなさい。",
    "안녕하세요!", "كيف أنظم وقتي بشكل أفضل؟", "שלום, מה שלומך?", "نص عربي with English mixed واخيرا",
    "नमस्ते, आप कैसे हैं?", "สวัสดี", "😀", "👩\u200d👩\u200d👧\u200d👦 family 🏳\ufe0f\u200d🌈",
    "👍🏽👍🏿 great!!! 🎉🎉🎉", "🇨🇭🇯🇵", "\x00", "nul\x00inside", "\x01\x02\x7f\x80", "\ud800",
    "lone \udc00 surrogate", "\ude00\ud83d halves in the wrong order", "\ufeffbom", "zero\u200bwidth\u200djoiner",
    "\u202eright to left override", "tab\tseparated\tvalues\n1\t2\t3", "1. one\n2. two\n3. three\n- four\n* five",
    "Pick one:\nA. red\nB. blue\nC. green", "UPPER CASE SHOUTING!!!", "https://example.org/a?b=c&d=e#f",
    "mail me at someone@example.org", "<script>alert(1)</script>",
)  # fmt: skip
_REPEATED: Final = (
    ("word ", 12_000),
    ("😀", 25_000),
    ("How do I plan my week? ", 1_000),
    ("x = x + 1;\n", 2_000),
    ("é", 3_072),
    ("a", 100_000),
)
_CONVERSATIONS: Final = (
    (Turn("system", "You are a kind coach."), Turn("user", "Hello, how are you?")),
    (Turn("user", "Prove Fermat's little theorem."), Turn("assistant", "Let p be a prime."), Turn("user", "Thanks!")),
    (Turn("user", "Prove Fermat's little theorem."), Turn("assistant", "Let p be a prime."), Turn("user", "Go on.")),
    (Turn("assistant", "Nobody asked yet."),),
    (Turn("user", "first"), Turn("assistant", "reply")),
    tuple(Turn("user" if i % 2 == 0 else "assistant", f"turn number {i}") for i in range(101)),
    (Turn("system", "x" * 9000), Turn("user", "short")),
)


def golden_json(scorer: OnnxScorer) -> bytes:
    """A JSON list: turns as [role, text, repeat], the digest and number of buckets, and the scores."""
    conversations: list[Sequence[tuple[str, str, int]]] = [[("user", text, 1)] for text in _TEXTS]
    conversations.extend([("user", text, repeat)] for text, repeat in _REPEATED)
    conversations.extend([(turn.role, turn.text, 1) for turn in turns] for turns in _CONVERSATIONS)
    conversations.append([])
    vectors = [_vector(turns, scorer) for turns in conversations]
    # ASCII only: lone surrogates have no UTF-8.
    return ("[\n" + ",\n".join(json.dumps(vector) for vector in vectors) + "\n]\n").encode("ascii")


def _vector(turns: Sequence[tuple[str, str, int]], scorer: OnnxScorer) -> dict[str, Any]:
    conversation = [Turn(role, text * repeat) for role, text, repeat in turns]
    features, score = extract(conversation, scorer.manifest.features), scorer.score(conversation)
    return {
        "turns": [list(turn) for turn in turns],
        "buckets_sha256": features.buckets_sha256(),
        "num_buckets": int((features.weights > 0).sum()),
        "structure": [round(float(x), 6) for x in features.structure],
        "complexity": round(score.complexity, 7),
        "domain": score.domain.value,
        "domain_confidence": round(score.domain_confidence, 7),
    }

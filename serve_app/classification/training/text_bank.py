"""Writing and extraction prompts written for this project."""

from typing import Final

from serve_app.classification.training.grammar import Bank, Level
from serve_app.contracts.vocabulary import Domain

_WRITE_EASY: Final = (
    "Write a short {piece} about {theme}.", "Write a {tone} birthday message for {who}.", "Rephrase this: {sentence}",
    "Fix the grammar: {sentence}", "Make this sound more {tone}: {sentence}", "Translate to {language}: {sentence}",
    "Write a one-line {piece} for {theme}.", "Give me {few} title ideas for a {piece} about {theme}.",
    "Draft a thank-you note to {who}.", "Shorten this: {sentence}", "Write an out-of-office message.",
    "Correct the spelling: {sentence}", "Write a {tone} caption for a photo of {theme}.",
)  # fmt: skip
_WRITE_STANDARD: Final = (
    "Write an email to {who} explaining that {news}. Keep it {tone} and under {count} words.",
    "Write a {piece} about {theme} in {few} paragraphs with a {tone} tone.",
    "Draft a cover letter for a {job} position. I have {few} years of experience and I like {theme}.",
    "Rewrite this paragraph so that it is {tone}: {sentence} {sentence} {sentence}",
    "Write a blog post introduction about {theme} for {who}.",
    "Write a {tone} speech of two minutes for {who} about {theme}.",
    "Write a dialogue between {who} and {who} about {theme}.",
    "Turn these notes into a {piece}: {sentence} {sentence}",
    "Compose a poem about {theme} with {few} stanzas that rhyme.",
)  # fmt: skip
_WRITE_HARD: Final = (
    "Write a {count}-word {piece} about {theme} in the manner of a nineteenth-century novelist, told by an "
    "unreliable narrator, where each paragraph contradicts the one before, no sentence uses the letter 'z', and the "
    "last line echoes the first.",
    "Write a persuasive essay that argues {thesis}, anticipates the {few} strongest objections, answers each with "
    "evidence, and keeps a consistent metaphor of {theme} throughout. At most {count} words, for {who}.",
    "Compose a sestina about {theme} that keeps the end-word permutation exactly, then explain how the form shapes "
    "the meaning.",
    "Write a policy brief for {who} on whether {thesis}: executive summary, evidence, trade-offs between at least "
    "{few} options, a recommendation, and a rebuttal of its best critic, in a {tone} register without jargon.",
    "Write a short story of {count} words about {theme} with two interleaved timelines, a hidden acrostic that "
    "spells a word, and an ending that reinterprets the first scene. Then analyse which clue gives it away.",
)  # fmt: skip
_EXTRACT_EASY: Final = (
    "Summarise this email in two lines: {record}", "Summarize: {record} {review}",
    "Extract all {field}s from: {record}", "Extract the {field} from this text: {record}",
    "List all {field}s in: {record}", "What is the {field} here? {record}",
    "Summarize in one sentence: {record} {record}", "Is the following review positive or negative? {review}",
    "Find the {field} in the text below.\n\n{record}", "Which {field} is mentioned? {record}",
    "Classify this message as question, complaint or praise: {review}",
)  # fmt: skip
_EXTRACT_STANDARD: Final = (
    "Extract {field}, {field} and {field} as JSON from the text below.\n\n{record} {record}",
    "Turn this into a CSV with columns {field}, {field}: {record} {record} {record}",
    "Summarize the following notes in {few} bullet points:\n{record} {review} {record} {review}",
    "Make a table of every {field} and {field} in the text.\n\n{record}\n{record}\n{record}",
    "From these meeting notes, list the action items with owner and due date:\n- {record}\n- {review}\n- {record}",
    "Label each review as positive, negative or mixed:\n1. {review}\n2. {review}\n3. {review}",
)  # fmt: skip
_EXTRACT_HARD: Final = (
    "From the correspondence below, reconstruct a timeline, resolve which of the contradicting {field}s is right "
    "and why, and return JSON that follows the schema exactly, with null where the text gives no evidence and a "
    "confidence for every {field}.\n\n{record}\n{record} {review}\n{record}\nLater corrected: {record}",
    "Merge these overlapping records, deduplicate entities that are spelled differently, normalise every {field} to "
    "ISO format, flag inconsistencies between {field} and {field}, and explain each merge "
    "decision:\n{record}\n{record}\n{record}\n{record}",
    "Compare the two contracts clause by clause, extract every obligation with its condition and exception, and "
    "infer which obligations conflict.\n\nA: {record} {review} {record}\nB: {record} {record} {review}",
)  # fmt: skip
_SLOTS: Final = {
    "piece": (
        "poem", "story", "blog post", "slogan", "product description", "haiku", "letter", "article", "tweet", "toast",
        "speech", "summary", "invitation", "LinkedIn post", "newsletter",
    ),
    "theme": (
        "autumn", "friendship", "a lighthouse", "remote work", "my dog", "a lost key", "the sea", "healthy eating",
        "a new product launch", "our team offsite", "courage", "coffee", "learning from failure", "a small village",
        "time travel", "kindness", "the first day at school",
    ),
    "tone": (
        "friendly", "formal", "funny", "professional", "warm", "polite", "confident", "casual", "neutral", "concise",
    ),
    "who": (
        "my team", "a customer", "my grandmother", "our investors", "a colleague", "the city council", "my boss",
        "new employees", "a friend", "a landlord", "beginners", "my teacher",
    ),
    "sentence": (
        "me and him was going to the store yesterday.", "We regret that the delivery has been delayed.",
        "The meeting is moved.", "I want know when you are available next week.",
        "our product are the best in market.", "She dont like the new plan.",
        "It is what it is, but we could of done better.", "Please send me the file asap.",
        "The results was not expected.", "Their going to announce it's new policy tomorrow.",
        "I am writing to you because of the invoice.",
    ),
    "language": ("French", "Spanish", "German", "Italian", "Japanese", "Polish", "Portuguese"),
    "few": ("two", "three", "four", "five", "3"),
    "count": ("80", "120", "150", "200", "300", "500"),
    "news": (
        "the deadline has moved", "we need another week", "the order was cancelled", "I cannot attend",
        "prices will rise", "the office is closed on Friday", "the report is attached",
    ),
    "job": ("nurse", "data analyst", "barista", "marketing manager", "teacher", "software developer", "receptionist"),
    "thesis": (
        "cities should ban cars", "exams do more harm than good", "remote work weakens cities",
        "voting should be compulsory", "museums should return artefacts", "homework should be abolished",
    ),
    "field": (
        "name", "date", "price", "email address", "phone number", "company", "city", "invoice number", "product",
        "amount", "person", "deadline", "address",
    ),
    "record": (
        "Anna Keller ordered 3 lamps on 4 May 2023 for 120 euros.",
        "Invoice 4471 from Brightway Ltd is due on 12/09/2024.",
        "Contact: j.moore@example.org, phone 555-0134, Boston.",
        "The workshop takes place in Lyon on Tuesday, led by Omar Haddad.",
        "Order #8821: two chairs, one desk, total 349.90 USD, ship to 12 Elm Street.",
        "Maria will send the draft to Tom by Friday.",
        "On 3 March the board approved 1.2 million for the Leeds site.",
        "Flight LX318 leaves Zurich at 07:25 and lands at 08:10.",
        "Nordwind GmbH hired 40 people in Hamburg in 2021.",
        "The patient, Mr. Ito, was admitted on 9 January with a fever.",
    ),
    "review": (
        "The food was cold and the waiter rude.", "Great battery life, but the screen scratches easily.",
        "I love it!", "Arrived late, support never answered.", "Does what it should, nothing more.",
        "Best purchase this year.", "Where can I download the manual?", "The room was clean but very noisy.",
    ),
}  # fmt: skip

WRITING: Final = Bank(
    Domain.WRITING, {Level.EASY: _WRITE_EASY, Level.STANDARD: _WRITE_STANDARD, Level.HARD: _WRITE_HARD}, _SLOTS
)
EXTRACTION: Final = Bank(
    Domain.EXTRACTION, {Level.EASY: _EXTRACT_EASY, Level.STANDARD: _EXTRACT_STANDARD, Level.HARD: _EXTRACT_HARD}, _SLOTS
)

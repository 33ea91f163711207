"""Small talk and knowledge prompts written for this project."""

from typing import Final

from serve_app.classification.training.grammar import Bank, Level
from serve_app.contracts.vocabulary import Domain

_TALK_EASY: Final = (
    "{hi}", "{hi}{end}", "{hi} {you}{end}", "{hi}, {how}", "{hi} {you}, {how}", "{how}", "{thanks}", "{thanks}{end}",
    "{thanks}, {praise}{end}", "{praise}{end}", "{bye}", "{bye}{end}", "{bye} {you}{end}", "{ack}", "{ack}{end}",
    "{ack}, {thanks}{end}", "{hi}! {smile}", "{smile}", "{ask_bot}", "{hi}, {ask_bot}", "{small}", "{hi}, {small}",
    "{thanks} {smile}", "{ack} {smile}", "{praise}, {bye}{end}", "{hi}, {small} {how}",
)  # fmt: skip
_TALK_STANDARD: Final = (
    "{hi}, {small} {ask_bot}", "{small} {how}", "Tell me a joke{about}.", "Tell me something nice{about}.",
)  # fmt: skip
_TALK_SLOTS: Final = {
    "hi": (
        "hi", "hello", "hey", "hi there", "hello there", "hey there", "good morning", "good afternoon",
        "good evening", "morning", "howdy", "yo", "hiya", "greetings", "hallo", "hola", "bonjour", "ciao",
        "hello again", "Hi coach",
    ),
    "end": ("!", ".", "!!", " :)", "", "…"),
    "you": ("coach", "friend", "there", "everyone", "buddy", "again", "my friend"),
    "how": (
        "how are you?", "how are you doing?", "how's it going?", "what's up?", "how are you today?",
        "how was your day?", "how have you been?", "how do you do?", "are you there?", "everything okay?",
        "how are things?", "you ok?",
    ),
    "thanks": (
        "thanks", "thank you", "thanks a lot", "many thanks", "thx", "thank you so much", "cheers",
        "much appreciated", "thanks for your help", "thank you very much", "ty", "thanks again", "danke", "merci",
        "gracias",
    ),
    "praise": (
        "that helped", "great answer", "perfect", "awesome", "you're great", "that was useful", "well done",
        "nice one", "love it", "exactly what I needed", "you're the best", "that's very kind", "good bot",
        "brilliant",
    ),
    "bye": (
        "bye", "goodbye", "see you", "see you later", "good night", "talk to you tomorrow", "have a nice day", "cya",
        "take care", "until next time", "have a great weekend", "gotta go", "that's all for today",
    ),
    "ack": (
        "ok", "okay", "sure", "yes", "no", "got it", "I see", "alright", "sounds good", "cool", "fine", "yes please",
        "no thanks", "hmm", "right", "makes sense", "of course", "nope", "yep", "lol", "haha",
    ),
    "smile": ("😀", "👍", "🙂", "🙏", "❤\ufe0f", "😂", "🎉", ":-)", ";)", "👋"),
    "ask_bot": (
        "who are you?", "what's your name?", "are you a robot?", "are you human?", "what can you do?",
        "do you sleep?", "do you like music?", "where are you from?", "how old are you?", "can we talk?",
        "are you real?", "do you like me?", "what's your favourite colour?", "do you remember me?",
        "can you hear me?", "is anyone there?",
    ),
    "small": (
        "nice weather today.", "it's raining again.", "I just had lunch.", "it's Friday!", "I'm back.", "long day.",
        "coffee first.", "I just woke up.", "happy Monday.", "it's been a while.", "I'm bored.", "guess what.",
        "I'm on the train.", "my cat says hi.", "it's my birthday today!", "we won the game last night.",
    ),
    "about": ("", " about cats", " about Mondays", " about work", " to start the day", " please", " about robots"),
}  # fmt: skip

_KNOW_EASY: Final = (
    "What is the meaning of {concept}?", "Explain {concept} briefly.", "In which continent is {country}?",
    "How many people live in {country}?", "What is {country} known for?", "Give me a fun fact about {country}.",
    "What is the capital of {country}?", "Who {deed}?", "When did {event}?", "How many {thing} are there in {whole}?",
    "What is {concept}?", "what does {concept} mean?", "Where is {country}?",
    "What language do they speak in {country}?", "Name {few} {category}.", "What's the largest {big}?",
    "Is {concept} the same as {concept}?", "Define {concept}.", "What colour is {object}?",
    "Tell me about {country}.", "What currency is used in {country}?",
)  # fmt: skip
_KNOW_STANDARD: Final = (
    "Explain {concept} in simple terms.", "How does {mechanism} work?",
    "What is the difference between {concept} and {concept}?", "Why did {event}?",
    "What were the main causes of {history}?", "Give me an overview of {concept} with {few} examples.",
    "Explain to a ten-year-old how {mechanism} works.", "What are the pros and cons of {mechanism}?",
    "Summarise the history of {country} in {few} sentences.", "How is {concept} related to {concept}?",
)  # fmt: skip
_KNOW_HARD: Final = (
    "Critically compare {few} competing explanations of {history}, weigh the evidence for each, and say which "
    "claims historians still dispute and why.",
    "Explain the mechanism of {mechanism} at the molecular or physical level, quantify the main effects, and "
    "discuss where the standard textbook account breaks down.",
    "How would {history} have unfolded had {counter}? Argue from the structural causes, not from single persons, "
    "and state your uncertainty.",
    "Which legal and ethical principles conflict when {dilemma}? Analyse the doctrine, the leading arguments on "
    "both sides, and apply them to a borderline case.",
    "A patient with {symptom} and {symptom} also takes {drug}. Work through the differential diagnosis, the "
    "interactions to rule out first, and the reasoning behind the order of tests.",
)  # fmt: skip
_KNOW_SLOTS: Final = {
    "country": (
        "France", "Japan", "Brazil", "Kenya", "Canada", "Norway", "Vietnam", "Peru", "Egypt", "Poland", "Australia",
        "India", "Chile", "Iceland", "Portugal", "Mongolia", "Ghana", "Greece", "Cuba", "Nepal",
    ),
    "deed": (
        "wrote Hamlet", "painted the Mona Lisa", "invented the telephone", "discovered penicillin",
        "was the first person on the moon", "composed the Four Seasons", "founded Rome", "won the 1998 World Cup",
        "discovered radium", "wrote Don Quixote", "built the Eiffel Tower", "invented the printing press",
    ),
    "event": (
        "the Berlin Wall fall", "World War II end", "the Titanic sink", "the Roman Empire fall", "dinosaurs die out",
        "Iceland become independent", "the first email get sent", "the Suez Canal open", "humans start farming",
    ),
    "thing": ("days", "bones", "planets", "states", "letters", "continents", "players", "strings", "seconds"),
    "whole": (
        "a year", "the human body", "the solar system", "the US", "the alphabet", "the world", "a football team",
        "a guitar", "an hour",
    ),
    "concept": (
        "photosynthesis", "inflation", "gravity", "democracy", "evolution", "a black hole", "DNA", "machine learning",
        "supply and demand", "the greenhouse effect", "mindfulness", "emotional intelligence", "compound interest",
        "a vaccine", "blockchain", "osmosis", "relativity", "the water cycle", "a mortgage", "growth mindset",
        "entropy", "a metaphor", "the placebo effect", "natural selection", "cognitive bias", "an index fund",
    ),
    "few": ("two", "three", "five", "4"),
    "category": ("European countries", "fruits", "mammals", "programming languages", "composers", "oceans", "trees"),
    "big": ("ocean", "country", "animal", "planet", "city in Europe", "desert", "lake"),
    "object": ("the sky", "a ripe banana", "an emerald", "the sun", "copper"),
    "mechanism": (
        "a refrigerator", "the stock market", "a vaccine", "GPS", "a heat pump", "an electric motor",
        "the immune system", "a nuclear reactor", "the heart", "wireless charging", "public-key encryption",
        "a jet engine", "the tides", "remote work", "carbon pricing", "universal basic income",
    ),
    "history": (
        "the First World War", "the French Revolution", "the 2008 financial crisis", "the fall of the Roman Empire",
        "the industrial revolution", "the Great Depression", "the Cold War", "the Bronze Age collapse",
    ),
    "counter": (
        "the gold standard survived", "the harvests not failed", "the telegraph come fifty years earlier",
        "the key alliance collapsed first",
    ),
    "dilemma": (
        "a hospital must allocate scarce organs", "a platform removes political speech",
        "an employer monitors home offices", "a state compels decryption", "an heir contests a digital will",
    ),
    "symptom": (
        "fatigue", "night sweats", "joint pain", "sudden weight loss", "a rash", "chest tightness", "confusion",
    ),
    "drug": ("warfarin", "metformin", "an SSRI", "lithium", "prednisone"),
}  # fmt: skip

SMALLTALK: Final = Bank(
    Domain.SMALLTALK, {Level.EASY: _TALK_EASY, Level.STANDARD: _TALK_STANDARD, Level.HARD: _TALK_STANDARD}, _TALK_SLOTS
)
KNOWLEDGE: Final = Bank(
    Domain.KNOWLEDGE, {Level.EASY: _KNOW_EASY, Level.STANDARD: _KNOW_STANDARD, Level.HARD: _KNOW_HARD}, _KNOW_SLOTS
)

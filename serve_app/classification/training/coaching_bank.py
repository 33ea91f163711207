"""Coaching prompts written for this project: one-line questions, situations, and situations full of constraints."""

from typing import Final

from serve_app.classification.training.grammar import Bank, Level
from serve_app.contracts.vocabulary import Domain

_EASY: Final = (
    "I had an argument with {person} and feel {feeling}.", "I'm {feeling} by my workload. What should I do first?",
    "I feel {feeling} {when}. What should I do first?", "Help me with {topic}.", "I had a talk with {person} today.",
    "I made a mistake at work and feel {feeling}.", "{person_is} {person_habit}. What should I do?",
    "Suggest a {habit_time} routine.", "What can I do against stress {when}?", "{setback}. Any advice?",
    "What can I do about {topic}?", "I keep {bad_habit}. Help?", "Help me set a goal for next month.",
    "Give me a short exercise for {topic}.", "I don't know how to talk to {person}.",
    "I want to get better at {activity}.", "How do I {do_small}?", "how can i {do_small}?",
    "How can I {do_small} {when}?", "Any tips to {do_small}?", "What is a good way to {do_small}?",
    "What's one thing I can do today to {do_small}?", "Can you help me {do_small}?",
    "I want to {do_small}. Where do I start?", "I'd like to {do_small}, any advice?",
    "I feel {feeling} {when}. What can I do?", "i'm feeling {feeling} {when}", "I'm {feeling} about {topic}.",
    "Feeling {feeling} today, can you cheer me on?", "Give me {few} tips for {topic}.",
    "How do I talk to {person} about {topic}?", "How do I give feedback to {person} who {person_habit}?",
    "What should I say to {person} who {person_habit}?", "How do I deal with {person} who {person_habit}?",
    "How do I tell {person} that I {do_tell}?", "Should I {do_small}?", "What is a good {habit_time} routine?",
    "How do I build a habit of {activity}?", "How do I stop {bad_habit}?", "I keep {bad_habit}. How do I stop?",
    "How do I stay motivated when {setback}?", "What questions should I ask in {meeting}?",
    "How do I prepare for {meeting}?", "What makes a good {role}?",
    "Quick check-in: I {did_small} today and it felt {good}.", "I {did_small} this week! What's next?",
    "How do I set a goal for {topic}?", "Remind me why {activity} matters.", "How do I say no to {person} politely?",
    "What's the difference between a goal and a habit?", "Can you ask me a reflection question about {topic}?",
    "I had a bad day at work.", "My week was {good}. Help me reflect on it.",
)  # fmt: skip
_STANDARD: Final = (
    "I'm a {role} and {setback}. {person_is} {person_habit}. How should I {do_small} {when}?",
    "{person_is} {person_habit} and it is starting to affect {topic}. I already {tried}. What should I try next?",
    "I've been {bad_habit} for {duration} and I want to change. I {tried}, but {setback}. Can you help me make a "
    "simple plan?",
    "I have {meeting} coming up {when}. I want to {do_small} but I feel {feeling}. How should I structure the "
    "conversation?",
    "I got offered a new role as {role}. It pays more, but I worry about {topic}. What should I ask myself before "
    "deciding?",
    "Help me write down {few} goals for {topic} over the next {duration}, with a small weekly step for each.",
    "I was just promoted to {role}. My former peers now report to me and one of them {person_habit}. How do I start "
    "well?",
    "I feel {feeling} because {setback}. Last {duration} I {tried}. Help me find a small next step.",
    "Can you role-play {meeting} with me? You are {person} who {person_habit}, and I want to {do_small}.",
    "After {duration} of {activity} I lost my rhythm when {setback}. How do I get back without being too hard on "
    "myself?",
    "My team {team_state}. As their {role}, how do I bring it up in our next meeting without blaming anyone?",
    "I struggle with {topic} and with {topic}. Which should I tackle first, and how?",
    "I want to {do_small} and also {do_small}, but I only have {few} hours a week. Suggest a weekly routine.",
)  # fmt: skip
_HARD: Final = (
    "I lead a team of {count} people. {person_is} {person_habit}, {other_is} {person_habit}, and our {role} wants "
    "{stake} by {when_hard}. I must {constraint}, I cannot {constraint}, and {stakeholder} expects {stake}. Compare "
    "at least {few} strategies, weigh their second-order effects on trust and delivery, and give me a sequenced "
    "plan with decision points and what would make you change your mind.",
    "I have two offers: one as {role} with {offer}, the other as {role} with {offer}. My partner {life}, we have "
    "{life_cost}, and I must {constraint}. Build a decision framework, weigh the trade-offs over {duration} and "
    "over five years, name the assumptions each option depends on, and test the recommendation against the worst "
    "case.",
    "Our {unit} has to {change} while {setback}. {stakeholder} wants {stake}; the team {team_state}; legally we "
    "must {constraint}. Analyse the conflicting interests, design a change plan for {duration} with risks, "
    "mitigations and measurable checkpoints, and explain which trade-off you would make first and why.",
    "I'm {feeling} and close to quitting. For {duration} I have {tried}, while {setback}. At home, my partner "
    "{life} and we have {life_cost}. I must {constraint}. Analyse what is really driving this, separate what I "
    "control from what I don't, lay out several scenarios with their consequences, and work out step by step what "
    "to do in which order.",
    "A conflict between {person} and {other} has escalated: one says {accuse}, the other says {accuse}. I {tried}. "
    "{stakeholder} is watching and I must {constraint}. Work through the situation from each side's perspective, "
    "find where the accounts contradict each other, and develop a mediation strategy with contingencies for each "
    "likely reaction.",
    "Design a {duration} development programme for {count} new {role}s with different strengths. Constraints: at "
    "most {few} hours a week each, no budget for external trainers, must {constraint}, and results must be "
    "measurable. Justify each element, show how you'd evaluate causally whether it works, and discuss the "
    "trade-offs you rejected.",
    "As {role} I need to choose which {few} of {count} people to let go. We must {constraint}, keep {stake}, and "
    "{stakeholder} wants an answer by {when_hard}. Reason through fair criteria, the ethical tensions between them, "
    "the likely unintended consequences, and how to communicate it to those who leave and those who stay.",
    "Help me think through whether to {change} given that {setback}, {stakeholder} expects {stake}, and I must "
    "{constraint}. Argue the strongest case for and against, identify the hidden assumptions, and derive a decision "
    "rule.",
)  # fmt: skip
_SLOTS: Final = {
    "do_small": (
        "give better feedback", "ask for a raise", "stay focused", "manage my time", "be more confident in meetings",
        "sleep better", "wake up earlier", "say no more often", "delegate more", "listen better", "handle criticism",
        "run a good one-on-one", "get more exercise", "read more books", "network at events",
        "stop worrying about work", "prepare my performance review", "speak up in meetings", "write a daily journal",
        "set boundaries at work", "drink more water", "take better breaks", "plan my week",
        "stay calm under pressure", "find a mentor", "ask my manager for help", "make new friends at work",
        "deal with a setback", "prioritise my tasks", "keep a positive attitude", "recover after a stressful day",
        "start meditating", "switch careers", "improve my work-life balance", "lead my first team meeting",
        "accept a compliment", "learn a new skill", "celebrate small wins", "ask for feedback",
        "be a better listener", "eat healthier", "stop overthinking",
    ),
    "when": (
        "today", "this week", "at work", "before a big meeting", "in the morning", "after work", "on Mondays",
        "when I work from home", "lately", "during busy weeks", "tomorrow", "at the end of the day", "these days",
    ),
    "when_hard": ("the end of the quarter", "next Friday", "the board meeting in six weeks", "30 June", "year end"),
    "feeling": (
        "tired", "stressed", "unmotivated", "stuck", "nervous", "overwhelmed", "anxious", "bored", "lonely", "down",
        "burned out", "frustrated", "insecure", "proud", "excited", "a bit lost", "exhausted", "discouraged",
    ),
    "topic": (
        "my career", "my workload", "time management", "work-life balance", "my confidence", "public speaking",
        "my goals", "my promotion", "team morale", "my energy", "giving feedback", "staying focused", "my sleep",
        "networking", "my first job", "my exam", "leadership", "healthy habits", "our deadlines",
        "a difficult conversation",
    ),
    "few": ("two", "three", "four", "five", "3", "5"),
    "count": ("7", "9", "12", "15", "24", "six", "eight", "forty"),
    "person": (
        "a colleague", "my boss", "my manager", "a teammate", "my mentor", "a friend", "my partner",
        "a direct report", "a coworker", "an employee", "my team lead", "a new hire", "a client", "my sister",
        "a senior colleague",
    ),
    "other": ("the product lead", "our best engineer", "a senior colleague", "the new hire", "the sales director"),
    "person_is": (
        "My manager", "A colleague of mine", "One of my teammates", "My boss", "A direct report", "My best performer",
    ),
    "other_is": ("a second one", "the newest member", "our most senior member", "another manager"),
    "person_habit": (
        "is often late", "interrupts everyone", "never answers messages", "takes credit for my work",
        "micromanages me", "complains a lot", "misses deadlines", "is always negative", "does not listen",
        "gossips about others", "avoids conflict", "talks too much in meetings", "seems unhappy", "ignores my ideas",
        "makes careless mistakes", "comes late to every meeting", "has stopped contributing",
        "keeps changing the plan",
    ),
    "do_tell": (
        "need help", "am overloaded", "want a raise", "made a mistake", "disagree", "am leaving", "need a day off",
    ),
    "habit_time": ("morning", "evening", "weekly", "bedtime", "daily", "Sunday"),
    "activity": (
        "running", "journaling", "reading", "meditating", "stretching", "planning my day", "exercise", "gratitude",
        "going for a walk", "learning Spanish", "practising the guitar", "deep work", "cooking at home",
    ),
    "bad_habit": (
        "procrastinating", "checking my phone", "snacking at night", "working late", "saying yes to everything",
        "skipping the gym", "overthinking", "comparing myself to others", "scrolling in bed", "missing deadlines",
    ),
    "setback": (
        "I don't see progress", "things get busy", "I missed a week", "two people resigned",
        "my project was cancelled", "we lost our biggest customer", "nobody seems to notice my work",
        "I failed my exam", "priorities keep shifting", "I was passed over for promotion", "the budget was cut",
        "I got sick", "the deadline moved forward",
    ),
    "meeting": (
        "a one-on-one", "my performance review", "a job interview", "a salary talk", "a difficult conversation",
        "my first team meeting", "a retrospective", "an exit interview", "a mentoring session", "a client call",
    ),
    "role": (
        "team lead", "manager", "coach", "project manager", "nurse", "teacher", "designer", "head of sales",
        "engineer", "mentor", "product owner", "department head", "founder", "consultant", "store manager",
    ),
    "did_small": (
        "went for a run", "finished my report", "spoke up in a meeting", "kept my morning routine",
        "said no to extra work", "read twenty pages", "gave feedback to a colleague", "slept eight hours",
        "meditated for ten minutes",
    ),
    "good": ("good", "great", "okay", "hard", "strange", "better than expected", "so-so"),
    "duration": ("two weeks", "a month", "three months", "six months", "a year", "90 days", "a quarter"),
    "tried": (
        "talked to them twice", "tried a to-do app", "worked every weekend", "asked for help", "read a book about it",
        "set up weekly check-ins", "kept a journal", "raised it with HR", "tried to ignore it",
        "set myself deadlines",
    ),
    "team_state": (
        "is tired", "has split into two camps", "misses most deadlines", "stopped speaking up",
        "is fully remote across five time zones", "doubled in size", "no longer trusts the roadmap",
        "is new and insecure",
    ),
    "constraint": (
        "keep the reorganisation confidential until it is announced", "stay within a frozen budget",
        "avoid losing anyone", "involve the works council", "treat everyone equally",
        "deliver the launch without extra headcount", "document every step", "protect one person's medical privacy",
        "move the whole family abroad", "keep both sites open",
    ),
    "stakeholder": ("the board", "our biggest client", "HR", "the founder", "my director", "the works council"),
    "stake": (
        "twenty percent more output", "a signed roadmap", "lower attrition", "a reorganisation proposal",
        "the flagship account", "a hiring plan", "cost savings of a quarter million", "psychological safety",
    ),
    "offer": (
        "more pay but constant travel", "equity and a shaky runway", "a four-day week and less influence",
        "a relocation to another country", "a large team and a toxic predecessor",
        "full remote work and a lower title",
    ),
    "life": ("cannot relocate before summer", "just lost their job", "is starting a degree", "wants a second child"),
    "life_cost": ("two small children", "a mortgage", "an ill parent to care for", "savings for about five months"),
    "unit": ("department", "startup", "support organisation", "hospital ward", "school", "sales region"),
    "change": (
        "merge two teams", "move to a four-day week", "close one location", "replace the bonus scheme",
        "go fully remote", "found my own company", "restructure the reporting lines", "step down from management",
    ),
    "accuse": (
        "the work was stolen", "decisions are made behind closed doors", "the other never keeps promises",
        "they are being bullied", "the quality standards were ignored", "they were left out on purpose",
    ),
}  # fmt: skip

COACHING: Final = Bank(Domain.COACHING, {Level.EASY: _EASY, Level.STANDARD: _STANDARD, Level.HARD: _HARD}, _SLOTS)

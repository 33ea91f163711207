"""Coding, math and reasoning prompts written for this project."""

from typing import Final

from serve_app.classification.training.grammar import Bank, Level, number_words
from serve_app.contracts.vocabulary import Domain

_CODE_EASY: Final = (
    "How do I {code_small} in {lang}?", "Write a {lang} function to {code_small}.",
    "What does `{snippet}` do in {lang}?", "What is the {lang} syntax for a {construct}?",
    "Write a one-liner in {lang} to {code_small}.", "Show me an example of a {construct} in {lang}.",
    "Write a regex that matches {pattern}.",
)  # fmt: skip
_CODE_STANDARD: Final = (
    "Fix the bug in this {lang} code:\n```{lang}\n{block}\n```",
    "Explain what this code does and its running time:\n```\n{block}\n```",
    "Write a {lang} function `{fname}(items)` to {code_mid}. Your code should pass these tests: assert {fname}({n}) "
    "== {n}",
    "Write unit tests in {lang} for a function that should {code_mid}.",
    "I get `{error}` in {lang} when I {code_small}. Why?",
    "Write a SQL query that returns the top {n} customers by revenue per month.",
    "Refactor this {lang} code:\n{block}", "Implement a {structure} in {lang} with insert, delete and lookup.",
)  # fmt: skip
_CODE_HARD: Final = (
    "Implement a lock-free {structure} in {lang}, prove that it is linearizable, handle the ABA problem, and give "
    "tests that would expose a missing memory barrier.",
    "Design a service in {lang} that must {code_hard} for {n} million users with p99 under {n} ms. Compare "
    "consistency models, show the schema and the core code, and analyse the failure modes.",
    "This {lang} service deadlocks about once in {n}000 requests:\n```\n{block}\n{block}\n```\nFind the race, "
    "explain the interleaving that causes it, fix it without a global lock, and argue that the fix is correct.",
    "Write a {lang} program to {code_hard} in O(n log n) time and O(1) extra memory, prove the bound, and handle "
    "{n} edge cases.",
    "Write a parser and type checker in {lang} for a small language with generics and a {construct}; explain the "
    "unification.",
)  # fmt: skip
_CODE_SLOTS: Final = {
    "lang": (
        "Python", "JavaScript", "Java", "Go", "Rust", "C++", "TypeScript", "SQL", "Kotlin", "bash", "C#", "Ruby",
    ),
    "code_small": (
        "reverse a string", "read a file", "sort a list", "remove duplicates", "parse a date", "make an HTTP request",
        "count words", "merge two dictionaries", "round a number", "check for a prime", "loop over a map",
    ),
    "code_mid": (
        "find the longest common prefix", "group anagrams together", "merge overlapping intervals",
        "find the kth largest element", "check balanced brackets", "compute a moving average",
        "find two numbers with a given sum", "flatten a nested list", "rotate a matrix",
    ),
    "code_hard": (
        "merge k sorted streams", "replicate a log with exactly-once delivery", "rate-limit requests across regions",
        "find the shortest superstring", "schedule jobs with dependencies", "stream joins with late events",
        "garbage-collect a persistent tree",
    ),
    "construct": (
        "for loop", "class", "closure", "list comprehension", "switch statement", "generator", "lambda", "trait",
    ),
    "snippet": ("x[::-1]", "arr.map(f)", "a ?? b", "git rebase -i", "SELECT DISTINCT", "i++", "*args", "chmod 755"),
    "pattern": ("an email address", "a phone number", "a date", "a hex colour", "an IPv4 address"),
    "structure": (
        "queue", "hash map", "binary search tree", "LRU cache", "trie", "priority queue", "skip list", "linked list",
    ),
    "error": (
        "IndexError: list index out of range", "undefined is not a function", "NullPointerException",
        "segmentation fault", "borrow of moved value", "TypeError: unsupported operand",
    ),
    "fname": ("solve", "find_pairs", "merge", "count_items", "top_k", "normalize"),
    "n": number_words(2, 60),
    "block": (
        "def f(xs):\n    out = []\n    for i in range(len(xs)):\n        if xs[i] > xs[i+1]:\n            "
        "out.append(xs[i])\n    return out",
        "async function load(ids) {\n  const out = [];\n  ids.forEach(async id => out.push(await fetch(id)));\n  "
        "return out;\n}",
        "while (lo < hi) {\n    int mid = (lo + hi) / 2;\n    if (a[mid] < x) lo = mid; else hi = mid;\n}",
        "with lock_a:\n    with lock_b:\n        balance[src] -= amount\n        balance[dst] += amount",
        "SELECT c.name, SUM(o.total)\nFROM customers c LEFT JOIN orders o ON o.cid = c.id\nWHERE o.total > "
        "10\nGROUP BY c.id;",
    ),
}  # fmt: skip

_MATH_EASY: Final = (
    "What is {n} + {n}?", "What is {n} times {n}?", "Calculate {n} * {n}.", "What is {n}% of {n}0?", "{n} - {m} = ?",
    "Convert {n} {unit} to {unit}.", "What is the square of {n}?", "Is {n} a prime number?",
    "Round {n}.{n} to one decimal.", "How much is {n} plus {m}?",
    "I bought {m} apples for {n} cents each. How much did I pay?",
)  # fmt: skip
_MATH_STANDARD: Final = (
    "Solve for x: {m}x + {n} = {n}.", "A train travels {n} km in {m} hours. How long does it take for {n}0 km?",
    "What is the derivative of {m}x^{m} + {n}x?", "Find the area of a triangle with sides {n}, {n} and {n}.",
    "{name} has {n} coins, gives away a third and gets {m} back. How many are left? Show your work.",
    "What is the probability of rolling {m} sixes in {n} throws?", "Factor x^2 + {n}x + {m}.",
    "Simplify ({n}x + {n}) / {m}.", "Find the mean and the variance of {n}, {n}, {n} and {n}.",
    "How many ways are there to arrange {n} books on a shelf?",
)  # fmt: skip
_MATH_HARD: Final = (
    "Prove that {claim}.", "Prove that {claim}, then generalise the argument to {general}.",
    "Let {object}. Show that {property}, and give a counterexample when the assumption is dropped.",
    "Prove by induction that {claim} and state exactly where the induction hypothesis is used.",
    "Find all {solutions} and prove that there are no others.",
    "Evaluate the integral of {integrand} from 0 to infinity and justify every exchange of limit and integral.",
    "Derive the expected number of {random} and prove a tight bound on the variance.",
    "Give two different proofs that {claim}; compare what each one assumes.",
    "Is it true that {claim}? Prove or disprove.",
)  # fmt: skip
_MATH_SLOTS: Final = {
    "n": number_words(3, 99),
    "m": number_words(2, 12),
    "name": ("Tom", "Aisha", "Lena", "Wei", "Sara", "Pablo"),
    "unit": ("km", "miles", "inches", "cm", "pounds", "kilograms", "litres", "gallons", "Celsius", "Fahrenheit"),
    "claim": (
        "the square root of {m} is irrational", "there are infinitely many primes of the form 4k+3",
        "every finite integral domain is a field", "the harmonic series diverges",
        "a continuous function on a compact set is bounded", "log base {m} of {n} is irrational",
        "the sum of the first n odd numbers is n squared", "every tree on n vertices has n-1 edges",
        "the set of real numbers is uncountable", "every group of order p^2 is abelian", "e is irrational",
        "a graph is bipartite if and only if it has no odd cycle", "the rationals are dense in the reals",
    ),
    "general": (
        "arbitrary non-square integers", "all finite groups", "n dimensions", "weighted graphs", "any prime power",
        "complete metric spaces", "infinite families",
    ),
    "object": (
        "G be a finite group whose order is odd", "f be a twice differentiable function with f'' > 0",
        "A be a real symmetric matrix", "(a_n) be a sequence with a_(n+1) = sqrt({m} + a_n)",
        "p be a prime that divides {n}^k - 1",
    ),
    "property": (
        "every element is a square", "it has at most one minimum", "its eigenvectors are orthogonal",
        "it converges, and find its limit", "its order divides p - 1",
    ),
    "solutions": (
        "integer solutions of x^2 - {m}y^2 = 1", "functions with f(x+y) = f(x)f(y)",
        "primes p such that p^2 + {m} is prime", "natural numbers n for which n! + 1 is a square",
        "triples with 1/a + 1/b + 1/c = 1",
    ),
    "integrand": ("sin(x)/x", "x^{m} e^(-x)", "ln(x)/(1+x^2)", "e^(-x^2) cos({m}x)"),
    "random": (
        "draws until all {n} coupons are seen", "steps of a random walk until it leaves [0, {n}]",
        "cycles in a random permutation", "comparisons of randomised quicksort",
    ),
}  # fmt: skip

_REASON_EASY: Final = (
    "All {group} are {trait}. {name} is one of the {group}. Is {name} {trait}?",
    "{name} is taller than {other}. {other} is taller than {third}. Who is the shortest?",
    "Which word does not belong: {odd}?", "What comes next: {seq}?",
    "If today is Tuesday, which day is it in {n} days?", "{name} is {other}'s mother. What is {other} to {name}?",
)  # fmt: skip
_REASON_STANDARD: Final = (
    "{name}, {other} and {third} each have a different {item}. {name} does not have the red one. {other} sits next "
    "to the owner of the blue one. Who owns which?",
    "Some {group} are {trait} and no {trait} things are heavy. What follows about {group}? Explain.",
    "You have a {n}-litre jug and a {m}-litre jug. How do you measure exactly {m} litres more than nothing left "
    "over?",
    "A {group} says: 'Everything I say is false.' Can that be true? Explain briefly.",
    "Sort these claims into fact, opinion and inference, and say why: {name} is late; {name} is unreliable; {name} "
    "missed the bus.",
)  # fmt: skip
_REASON_HARD: Final = (
    "{people} are knights, who always tell the truth, or knaves, who always lie. {statement} {statement} "
    "{statement} Determine who is what, and prove that the solution is unique.",
    "{people} are knights or knaves. {statement} {statement} Who is a knave? Reason step by step.",
    "{count} people must cross a bridge at night with one torch; at most two cross at a time and they need {n}, "
    "{n}, {n} and {n} minutes. Find the minimum total time and prove it is optimal.",
    "A farmer must bring a {item}, a goat, a wolf and {count} cabbages across a river in a boat that holds {m}. "
    "Find the shortest plan, prove that no shorter one exists, and generalise.",
    "{count} prisoners each see the others' hats but not their own. They may agree on a strategy beforehand. Derive "
    "the best strategy, prove that it is optimal, and say what changes when one of them may lie.",
    "You have {count} balls, one of another weight, and a balance. Find the least number of weighings in the worst "
    "case, give the whole strategy, and prove the lower bound with information theory.",
    "{people} are seated in a row. {clue} {clue} {clue} {clue} Deduce the full order, show each inference, and name "
    "which clue is redundant.",
    "Analyse the trade-offs between {option} and {option} for {context}: state your assumptions, consider "
    "second-order effects and failure modes, compare at least {m} scenarios, and derive under which conditions each "
    "is optimal.",
    "{company} must choose between {option} and {option} by {n} March. Demand is uncertain, the competitor reacts, "
    "and the choice cannot be undone. Model it as a game, find the equilibria, and explain which assumptions the "
    "conclusion is most sensitive to.",
    "A study finds that {group} who {habit} are {trait}. List the alternative causal explanations, design an "
    "experiment that separates them, and explain which result would falsify each hypothesis.",
    "Three boxes are labelled wrongly. {statement} You may open one. Which do you open and why does that suffice? "
    "Now generalise to n boxes and prove the minimum.",
    "Schedule {count} jobs on {m} machines where {clue} {clue} and no machine may idle for long. Find an optimal "
    "schedule and prove that no better one exists.",
    "Is the following argument valid? If all {group} are {trait}, then some are not; but {statement} Formalise it, "
    "find the hidden premise, and construct a countermodel.",
    "Evaluate whether {context} should switch from {option} to {option}. Weigh cost, risk, reversibility and "
    "ethics, argue both sides as strongly as you can, resolve the contradictions, and give a justified "
    "recommendation with its conditions.",
)  # fmt: skip
_REASON_SLOTS: Final = {
    "group": ("cats", "nurses", "planets", "poets", "robots", "Cretans", "students", "birds", "pilots"),
    "trait": ("curious", "blue", "healthier", "quiet", "immortal", "late", "taller", "wise"),
    "name": ("Anna", "Ben", "Carla", "Deniz", "Emil"),
    "other": ("Farah", "Goran", "Hana", "Igor"),
    "third": ("Jonas", "Kim", "Lea"),
    "odd": ("apple, pear, chair, plum", "run, walk, jump, blue", "violin, drum, flute, spoon"),
    "seq": ("2, 4, 6, 8", "1, 4, 9, 16", "A, C, E, G", "1, 1, 2, 3, 5", "3, 6, 12, 24"),
    "n": number_words(1, 26),
    "m": ("2", "3", "4", "5"),
    "count": ("Three", "four", "five", "twelve", "100", "6", "ten", "n"),
    "item": ("hat", "boat", "pet", "fox", "car", "lantern"),
    "people": (
        "A, B and C", "Anna, Ben and Carla", "A and B", "Five friends P, Q, R, S and T", "Alice, Bob and Carol",
        "Four islanders",
    ),
    "statement": (
        "A says that B is a knave.", "B says: 'A and C are of the same kind.'",
        "C says that exactly one of us is a knight.", "A says: 'If B is a knight, then C is a knave.'",
        "B says that A would say that C lies.", "C says nothing.",
    ),
    "clue": (
        "The doctor sits left of the baker.", "Q is not next to R.", "Exactly one person sits between P and S.",
        "T comes before Q unless R is first.", "The owner of the zebra does not drink tea.",
        "Job 3 must follow job 1.", "P is neither first nor last.",
    ),
    "option": (
        "a monolith", "microservices", "a price cut", "a subscription model", "eventual consistency",
        "strong consistency", "nuclear power", "a carbon tax", "centralised decisions", "building in-house",
        "outsourcing", "an early launch",
    ),
    "context": (
        "a hospital network", "a bank that grows fast", "a small island state", "a startup with a year of runway",
        "a city council", "a payment system", "a charity", "a logistics firm",
    ),
    "company": ("A retailer", "An airline", "A startup", "A utility", "A publisher"),
    "habit": ("drink coffee", "sleep less", "keep diaries", "work from home", "meditate"),
}  # fmt: skip

CODING: Final = Bank(
    Domain.CODING, {Level.EASY: _CODE_EASY, Level.STANDARD: _CODE_STANDARD, Level.HARD: _CODE_HARD}, _CODE_SLOTS
)
MATH: Final = Bank(
    Domain.MATH, {Level.EASY: _MATH_EASY, Level.STANDARD: _MATH_STANDARD, Level.HARD: _MATH_HARD}, _MATH_SLOTS
)
REASONING: Final = Bank(
    Domain.REASONING,
    {Level.EASY: _REASON_EASY, Level.STANDARD: _REASON_STANDARD, Level.HARD: _REASON_HARD},
    _REASON_SLOTS,
)

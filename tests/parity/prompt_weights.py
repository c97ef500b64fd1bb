"""Random prompts with weights, and how the AUTOMATIC1111 web UI reads them: writes tests/fixtures/prompt_weights.json.

Run without arguments from anywhere; needs nothing but Python. The rules are written down here from the web UI's documented
behaviour, without any of its code and none of Catbench's:

- a backslash before ( ) [ ] or a backslash makes it plain text;
- ( opens, and the next unmatched ) closes; `:NUMBER)` in place of ) gives what is between them that weight;
- weights of what stands in each other multiply; side by side parts of equal weight are one part.

Catbench differs in these, on purpose, and the script follows Catbench there:

- (x) and [x] without a number are text and weigh 1; in the web UI 1.1 and 1 / 1.1. So is a ( that is never closed.
- A backslash before anything else stays; the web UI drops it. One before { is for names of concepts.
- BREAK, AND, [a:b:0.5], [a|b] and <lora:x:1> are text.
- What is no number, as in (x:1.2.3), is text; the web UI fails. Weights beyond 10 either way are refused.

The first and the third are told to the user before a sampling (`foreign_syntax`).
"""

import json
import random
import re
from pathlib import Path

NUMBER = re.compile(r":\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)")


def read(prompt):
    """[text, weight] of each part."""
    letters = []  # [character, weight]; a parenthesis that turns out to be a weight's is emptied
    opened = []  # places in `letters` of the ( that wait for their )
    at = 0
    while at < len(prompt):
        c = prompt[at]
        number = NUMBER.match(prompt, at) if opened else None
        if c == "\\" and at + 1 < len(prompt) and prompt[at + 1] in "()[]\\":
            letters.append([prompt[at + 1], 1.0])
            at += 2
        elif number:
            begin = opened.pop()
            letters[begin][0] = ""
            for letter in letters[begin:]:
                letter[1] *= float(number.group(1))
            at = number.end()
        else:
            if c == "(":
                opened.append(len(letters))
            elif c == ")" and opened:
                opened.pop()
            letters.append([c, 1.0])
            at += 1
    parts = []
    for text, weight in letters:
        if text and parts and abs(parts[-1][1] - weight) < 1e-9:
            parts[-1][0] += text
        elif text:
            parts.append([text, weight])
    return parts


def random_prompt(draw, depth=0):
    words = ["red", "big cat", "a", ", ", " ", "é", "x:y", ":", "1.5", "-", "8k"]
    escapes = ["\\(", "\\)", "\\[", "\\]", "\\\\", "\\o", "\\"]
    stray = ["(", ")", "[", "]", ":1.2)", "(:1.3)"]
    weights = ["1.2", "0.5", " 1.3 ", "+2", "-1", ".7", "1.", "0", "1", "2.00", "1.2.3", "1e3", "."]
    prompt = ""
    for _ in range(draw.randint(1, 5)):
        kind = draw.random()
        if kind < 0.4:
            prompt += draw.choice(words)
        elif kind < 0.6:
            prompt += draw.choice(escapes)
        elif kind < 0.7:
            prompt += draw.choice(stray)
        elif depth < 4:
            inside = random_prompt(draw, depth + 1)
            weight = draw.choice(["", ":" + draw.choice(weights)])
            prompt += draw.choice([f"({inside}{weight})", f"({inside}{weight})", f"[{inside}]"])
    return prompt


def main():
    draw = random.Random(20260701)
    known = [
        r"\\(red:1.5) cat",
        r"(big \\(red:1.2) cat:1.5)",
        "a (red:1.5) cat",
        "(a (red:2) cat: 0.5)",
        r"\(red:1.5\) (a \(b\):1.5)",
        "((red)) [blue] (unclosed",
        "a) b:1.5) (c",
    ]
    cases = {prompt: read(prompt) for prompt in known}
    while len(cases) < 600:
        prompt = random_prompt(draw)
        parts = read(prompt)
        # Beyond 10 Catbench refuses, at any depth.
        if len(prompt) <= 60 and all(abs(weight) <= 8 for _, weight in parts):
            cases[prompt] = parts
    path = Path(__file__).parent.parent / "fixtures" / "prompt_weights.json"
    lines = [json.dumps([prompt, parts], ensure_ascii=False) for prompt, parts in cases.items()]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


main()

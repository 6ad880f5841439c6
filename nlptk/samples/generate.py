"""Makes the sample data from hand-written sentences: `python -m nlptk.samples.generate FOLDER`.

The same seed gives the same bytes on every Python: all draws go through `Random.random`, whose sequence is guaranteed.
A message is one to three sentences of its label, among background that is drawn alike for every label and full of the
other labels' words. Some sentences are kept from the training rows, so validation and test also measure new wordings.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import TypeVar

T = TypeVar("T")
Row = dict[str, str]

SEED = 20260101
# messages of each label; unequal, as in life
SHARES = {
    "billing": 0.20,
    "delivery": 0.22,
    "returns": 0.17,
    "account_access": 0.14,
    "technical_problem": 0.16,
    "praise": 0.11,
}
ROWS = {"train": 900, "validation": 150, "test": 200}
UNSEEN = {"validation": 0.15, "test": 0.25}  # fractions of a label's sentences that only this split has
NEW_WORDING = 0.35  # chance that a sentence of validation or test is one of those
TYPO_RATE = 0.25  # messages with typos
LONGEST = 80  # words
SLOTS = {
    "product": "kettle,lamp,rucksack,headset,jacket,sofa cover,coffee machine,tent,desk chair,speaker,bike light,"
    "mixer,raincoat,watch,vacuum cleaner,keyboard,blanket,pan set,monitor,suitcase",
    "name": "Priya,Tom,Ines,Marek,Sofia,Kwame,Lena,Diego,Aisha,Ben,Yuki,Olga,Hassan,Grace",
    "amount": "$12.90,$49,£35.50,19.99 euros,€84,$210,£7,129 euros,$64.25,€15.80",
    "days": "two,three,four,six,nine,ten,12,14,15,20",
    "weekday": "Monday,Tuesday,Wednesday,Thursday,Friday,Saturday,Sunday",
    "month": "January,February,March,April,May,June,July,August,September,October,November,December",
    "nth": "3rd,5th,9th,12th,15th,21st,28th",
    "order": "#48213,7730-21,#90417,A-55102,#31008,6624-90,#77140,C-20931,no. 5581",
    "city": "Leeds,Porto,Denver,Graz,Cork,Oslo,Lyon,Austin,Ghent,Turku,Bristol,Halifax",
    "device": "iPhone,Android phone,old laptop,tablet,Pixel,iPad,Windows PC,MacBook",
    "errorcode": "500,404,E-17,0x80,403,1020",
    "year": "2015,2018,2019,2021,2023",
    "event": "wedding,holiday,move,new office,camping trip",
}


def pick(rng: Random, items: Sequence[T]) -> T:
    return items[int(rng.random() * len(items))]


def weighted(rng: Random, weights: Sequence[float]) -> int:
    """A position in weights, drawn with these chances (they add up to 1)."""
    draw = rng.random()
    return min(sum(draw >= bound for bound in accumulate(weights)), len(weights) - 1)


def shuffled(rng: Random, items: Iterable[T]) -> list[T]:
    keyed = [(rng.random(), position, item) for position, item in enumerate(items)]
    return [item for *_, item in sorted(keyed, key=lambda key: key[:2])]


def read_sections(path: Path) -> dict[str, list[str]]:
    """Lines under each `== name` heading; `#` begins a comment."""
    sections: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            lines = sections.setdefault(line[3:], [])
        elif line.strip() and not line.startswith("#"):
            lines.append(line)
    return sections


def fill(rng: Random, template: str) -> str:
    """One sentence of a template: `[a|b]` is a choice, `{slot}` a value of SLOTS."""
    chosen = re.sub(r"\[([^]]*)\]", lambda match: pick(rng, match[1].split("|")), template)
    return re.sub(r"\{(\w+)\}", lambda match: pick(rng, SLOTS[match[1]].split(",")), chosen)


def normalized(text: str) -> str:
    """What two texts share when they differ only in case, spaces and punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def with_typos(rng: Random, text: str) -> str:
    """The text as typed in a hurry: a few letters swapped, dropped or doubled, sometimes no capitals or full stops."""
    words = text.split(" ")
    for _ in range(1 + len(words) // 12):
        place = int(rng.random() * len(words))
        word = words[place]
        if len(word) < 4 or not word.isalpha():
            continue
        at = 1 + int(rng.random() * (len(word) - 2))
        changed = (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
        )
        words[place] = pick(rng, changed)
    typed = " ".join(words)
    return typed.lower().replace("'", "") if rng.random() < 0.4 else typed


def message(rng: Random, cores: Sequence[str], parts: dict[str, list[str]]) -> str:
    """The core sentences in order, with background sentences between them, a greeting and an ending."""
    body = [fill(rng, core) for core in cores]
    for line in shuffled(rng, parts["context"])[: weighted(rng, (0.45, 0.30, 0.15, 0.06, 0.04))]:
        body.insert(int(rng.random() * (len(body) + 1)), fill(rng, line))
    if rng.random() < 0.35:
        body.insert(0, fill(rng, pick(rng, parts["opener"])))
    if rng.random() < 0.45:
        body.append(fill(rng, pick(rng, parts["closer"])))
    text = " ".join(body)
    return with_typos(rng, text) if rng.random() < TYPO_RATE else text


def split_wordings(rng: Random, sentences: Sequence[str]) -> dict[str, list[str]]:
    """split -> the sentences that are its own; validation and test borrow the training ones besides."""
    order = shuffled(rng, sentences)
    validation, test = (round(UNSEEN[split] * len(order)) for split in ("validation", "test"))
    own = {"validation": order[:validation], "test": order[validation : validation + test]}
    return {"train": order[validation + test :], **own}


def draw_cores(rng: Random, wordings: dict[str, list[str]], split: str) -> list[str]:
    """One to three different sentences of a label."""
    chosen: list[str] = []
    for _ in range(1 + weighted(rng, (0.5, 0.35, 0.15))):
        core = pick(rng, wordings[split if rng.random() < NEW_WORDING else "train"])
        if core not in chosen:
            chosen.append(core)
    return chosen


def message_splits(sections: dict[str, list[str]]) -> dict[str, list[Row]]:
    """split -> rows of `text` and `label`; no text twice, whatever its case and punctuation."""
    rng = Random(SEED)
    wordings = {label: split_wordings(rng, sections[label]) for label in SHARES}
    seen: set[str] = set()
    splits: dict[str, list[Row]] = {}
    for split, size in ROWS.items():
        rows: list[Row] = []
        for label, share in SHARES.items():
            wanted = len(rows) + round(share * size)
            while len(rows) < wanted:
                text = message(rng, draw_cores(rng, wordings[label], split), sections)
                key = normalized(text)
                if key not in seen and 3 <= len(text.split()) <= LONGEST:
                    seen.add(key)
                    rows.append({"text": text, "label": label})
        splits[split] = shuffled(rng, rows)
    return splits


def reviews(sections: dict[str, list[str]], *, size: int = 200) -> list[Row]:
    """Rows of `text` and `labels` (one to three aspects, in alphabetical order, `|` between)."""
    rng = Random(SEED + 1)
    aspects = sorted(set(sections) - {"none"})
    rows: dict[str, Row] = {}
    while len(rows) < size:
        draw = rng.random()
        chosen = shuffled(rng, aspects)[: 1 if draw < 0.4 else 2 if draw < 0.8 else 3]
        lines = [fill(rng, pick(rng, sections[aspect])) for aspect in chosen]
        if rng.random() < 0.4:
            lines.insert(0, fill(rng, pick(rng, sections["none"])))
        text = " ".join(lines)
        rows.setdefault(normalized(text), {"text": text, "labels": "|".join(sorted(chosen))})
    return list(rows.values())


def question_pairs(sections: dict[str, list[str]], *, size: int = 200) -> list[Row]:
    """Rows of `sentence1`, `sentence2`, `label` (same or different) and `family`.

    Half of the pairs ask the same; the others are taken within a family, so that they share most of their words.
    Sentences recur, but only within a family: split by it.
    """
    rng = Random(SEED + 2)
    pairs: dict[str, list[Row]] = {"same": [], "different": []}
    for family, lines in sections.items():
        intents = [line.split(" / ") for line in lines]
        asked = [(intent, text) for intent, texts in enumerate(intents) for text in texts]
        for first, (intent, one) in enumerate(asked):
            for other_intent, other in asked[first + 1 :]:
                label = "same" if intent == other_intent else "different"
                left, right = shuffled(rng, (one, other))
                pairs[label].append({"sentence1": left, "sentence2": right, "label": label, "family": family})
    return shuffled(rng, [row for rows in pairs.values() for row in shuffled(rng, rows)[: size // 2]])


def as_jsonl(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def sample_files() -> dict[str, bytes]:
    """File name -> content, of every sample."""
    folder = Path(__file__).parent
    splits = message_splits(read_sections(folder / "messages.txt"))
    return {
        **{f"messages_{split}.jsonl": as_jsonl(rows) for split, rows in splits.items()},
        "reviews.csv": as_csv(reviews(read_sections(folder / "reviews.txt"))),
        "question_pairs.jsonl": as_jsonl(question_pairs(read_sections(folder / "questions.txt"))),
    }


def main(folder: Path) -> None:
    """Write the samples into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in sample_files().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m nlptk.samples.generate FOLDER")
    main(Path(sys.argv[1]))

"""Who says this in Hamlet? A module of a notebook: it is optimised here, and pushed to a pool.

`python examples/notebook/who_speaks.py` optimises it, and keeps what was found in a file;
`anypod push examples/notebook/who_speaks.py:program` makes a program of it, and asks no LM.
"""

import os
import re
from pathlib import Path
from typing import Any

import dspy

HAMLET = Path(__file__).parents[1] / "data" / "hamlet.txt"
FOUND = Path("who_speaks.json")
SPEECH = re.compile(r"\n\n(?P<speaker>[A-Z][a-z]+)\.\n(?P<speech>.+?)(?=\n\n|\Z)", re.DOTALL)


class WhoSpeaks(dspy.Signature):
    """Say which character of Shakespeare's Hamlet says this."""

    speech: str = dspy.InputField()
    speaker: str = dspy.OutputField(desc="the name, as the text of the play has it")


program = dspy.Predict(WhoSpeaks)
if FOUND.exists():
    program.load(FOUND)


def speeches() -> list[dspy.Example]:
    """Of the whole play, without the short ones that anyone might say."""
    found = [match.groupdict() for match in SPEECH.finditer(HAMLET.read_text())]
    return [dspy.Example(**one).with_inputs("speech") for one in found if len(one["speech"]) > 60]


def exact(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
    return bool(example.speaker == prediction.speaker)


def score(module: dspy.Module, examples: list[dspy.Example]) -> float:
    return sum(exact(one, module(speech=one.speech)) for one in examples) / len(examples)


def optimise() -> None:
    name = os.environ.get("NOTEBOOK_LM", "openai/gpt-4o-mini")
    base = os.environ.get("NOTEBOOK_LM_BASE")
    lm = dspy.LM(name, temperature=0, cache=False, **({"api_base": base} if base else {}))
    train, test = speeches()[::20], speeches()[7::20]
    optimiser = dspy.BootstrapFewShot(metric=exact, max_labeled_demos=8)
    with dspy.context(lm=lm):
        plain = dspy.Predict(WhoSpeaks)
        optimised = optimiser.compile(plain, trainset=train)
        print(f"{score(plain, test):.0%} were right, and now {score(optimised, test):.0%}")
    optimised.save(FOUND)


if __name__ == "__main__":
    optimise()

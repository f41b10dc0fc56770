"""The rival: FastAPI before an asynchronous DSPy program, as DSPy's tutorial on deployment has it.

See "Deploying with FastAPI" in DSPy's documentation. Of its settings it leaves
``async_max_workers`` as it is, which is 8. The cache is off, as it would answer in the LM's place.
"""

import os

import dspy
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Question(BaseModel):
    text: str


def program(milliseconds: str) -> dspy.Module:
    lm = dspy.LM(
        f"hosted_vllm/{milliseconds}", api_base=os.environ["LM_URL"], api_key="none", cache=False
    )
    asked = dspy.ChainOfThought("question -> answer")
    asked.set_lm(lm)
    return dspy.asyncify(asked)


programs = {milliseconds: program(milliseconds) for milliseconds in ("50", "2000")}


@app.post("/predict/{milliseconds}")
async def predict(milliseconds: str, question: Question) -> dict[str, object]:
    answered = await programs[milliseconds](question=question.text)
    return {"status": "success", "data": answered.toDict()}

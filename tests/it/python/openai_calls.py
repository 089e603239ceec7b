"""Calls an OpenAI-compatible server by OpenAI's own client: `openai_calls.py BASE_URL N`.

Chats in one piece and streamed, and embeddings. Prints the totals that driftd is to have counted: rows, characters of
prompts and of completions, and the largest embedding norm.
"""

import json
import math
import sys

from openai import OpenAI


def main() -> None:
    url, n = sys.argv[1], int(sys.argv[2])
    client = OpenAI(base_url=url, api_key="none", max_retries=0, timeout=10)
    chats = {"rows": 0, "prompt": 0, "completion": 0, "stopped": 0}
    embeddings = {"rows": 0, "norm": 0.0}
    for idx in range(n):
        text = "é" * (1 + idx % 20)
        messages = [{"role": "system", "content": "brief"}, {"role": "user", "content": text}]
        chats["rows"] += 1
        chats["prompt"] += len("brief") + len(text)
        if idx % 2:
            with client.chat.completions.create(model="llama", messages=messages, stream=True) as parts:
                choices = [part.choices[0] for part in parts if part.choices]
            answer = "".join(choice.delta.content or "" for choice in choices)
            reason = choices[-1].finish_reason
        else:
            choice = client.chat.completions.create(model="llama", messages=messages).choices[0]
            answer, reason = choice.message.content, choice.finish_reason
        assert answer == text[::-1], (answer, text)
        chats["completion"] += len(answer)
        chats["stopped"] += reason == "stop"
    for idx in range(n):
        data = client.embeddings.create(model="embedder", input=["a", "bc" * idx]).data
        embeddings["rows"] += 2
        norms = [math.sqrt(sum(x * x for x in each.embedding)) for each in data]
        embeddings["norm"] = max(embeddings["norm"], *norms)
    print(json.dumps({"chats": chats, "embeddings": embeddings}))


if __name__ == "__main__":
    main()

"""Sends exchanges to a sink as CloudEvents: `events.py URL NAMESPACE SERVICE N`.

Requests and responses are events of their own, in binary mode, structured mode and structured with base64 data, all in
one shuffled order. Prints how many rows were in them and how many of their first values were not missing.
"""

import json
import random
import sys

import requests
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent


def main() -> None:
    url, namespace, service, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    chance = random.Random(7)
    events, n_rows, n_amounts = [], 0, 0
    for idx in range(n):
        rows = [[chance.choice([None, idx % 50, 7]), 20 + idx % 7] for _ in range(1 + idx % 3)]
        n_rows += len(rows)
        n_amounts += sum(row[0] is not None for row in rows)
        bodies = {"request": {"instances": rows}, "response": {"predictions": [0.1 * len(row) for row in rows]}}
        for side, body in bodies.items():
            attributes = {
                "type": f"org.kubeflow.serving.inference.{side}",
                "source": "http://localhost:9081/",
                "id": f"{service}-{idx}",
                "inferenceservicename": service,
                "namespace": namespace,
                "component": "predictor",
                "datacontenttype": "application/json",
            }
            kind = chance.choice(["binary", "structured", "base64"])
            if kind == "binary":
                headers, data = to_binary(CloudEvent(attributes, json.dumps(body).encode()))
            elif kind == "structured":
                headers, data = to_structured(CloudEvent(attributes, body))
            else:
                headers, data = to_structured(CloudEvent(attributes, json.dumps(body).encode()))
            events.append((headers, data))
    chance.shuffle(events)
    with requests.Session() as session:
        for headers, data in events:
            session.post(url, headers=headers, data=data, timeout=10).raise_for_status()
    print(json.dumps({"rows": n_rows, "amounts": n_amounts}))


if __name__ == "__main__":
    main()

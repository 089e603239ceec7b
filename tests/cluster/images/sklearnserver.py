"""KServe's scikit-learn server: its own is not on PyPI, so this is the `kserve` package's server with the same few lines
of model around it, taking the same arguments (`--model_name --model_dir --http_port`). `RIG_PREDICT_SECONDS` makes it slow: then there
are always requests in it, as in a large model's."""

import argparse
import asyncio
import os
from pathlib import Path

import joblib
import kserve
from kserve import model_server
from kserve.errors import InferenceError
from kserve.utils.utils import get_predict_input, get_predict_response


class SklearnModel(kserve.Model):
    def __init__(self, name: str, folder: str):
        super().__init__(name)
        self.folder = Path(folder)

    def load(self) -> bool:
        self.estimator = joblib.load(self.folder / "model.joblib")
        self.ready = True
        return self.ready

    async def predict(self, payload, headers=None, response_headers=None):
        await asyncio.sleep(float(os.environ.get("RIG_PREDICT_SECONDS", "0")))
        try:
            return get_predict_response(payload, self.estimator.predict(get_predict_input(payload)), self.name)
        except Exception as error:
            raise InferenceError(str(error)) from error


def main() -> None:
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("--model_dir", required=True)
    arguments, _ = parser.parse_known_args()
    model = SklearnModel(arguments.model_name, arguments.model_dir)
    model.load()
    kserve.ModelServer().start([model])


if __name__ == "__main__":
    main()

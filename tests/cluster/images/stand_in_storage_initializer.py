"""Stands in for KServe's storage initializer: `SOURCE_URI TARGET_FOLDER`. There is no object store in the rig; what would lie at
`s3://BUCKET/KEY` lies in the folder `$RIG_MODELS/BUCKET/KEY`, and is copied."""

import os
import shutil
import sys
from pathlib import Path


def main() -> None:
    uri, target = sys.argv[1:3]
    scheme, _, key = uri.partition("://")
    source = Path(os.environ["RIG_MODELS"], key)
    if scheme != "s3" or not source.is_dir():
        sys.exit(f"no model at {uri}: {source} is not a folder")
    for file in source.rglob("*"):
        if file.is_file():
            copy = Path(target, file.relative_to(source))
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    print(f"copied {uri} to {target}")


if __name__ == "__main__":
    main()

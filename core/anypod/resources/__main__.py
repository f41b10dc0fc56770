"""``python -m anypod.resources``, in the repository's root: writes the CRD and the reference."""

import sys
from pathlib import Path

from anypod.resources.generate import files


def main() -> int:
    root = Path.cwd()
    if not (root / "pyproject.toml").exists():
        sys.exit("run this in the root of the repository")
    for path, text in files().items():
        target = root / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What `helm test` runs: a program on the chart's test pool, through the gateway.

The address, the pool and the seconds for all of it come as arguments, the API key as a file, or
none if the gateway asks for none.
"""

import json
import sys
import time
from pathlib import Path

from anypod.client import AnyPodError, Client, NoAnswer, NotFound, Unavailable

SOURCE = "def main(number: int) -> int:\n    return number * number\n"


def read_key(file: Path) -> str:
    """The bare key, or JSON that also says what it may do."""
    text = file.read_text().strip()
    return str(json.loads(text)["key"]) if text.startswith("{") else text


def main(url: str, pool: str, seconds: str, key_file: str = "") -> None:
    headers = {"Authorization": f"Bearer {read_key(Path(key_file))}"} if key_file else {}
    until = time.monotonic() + float(seconds)
    with Client(url, pool=pool, headers=headers) as client:
        while True:
            try:
                answer = client.run_source(SOURCE, {"number": 12})
                break
            except (NotFound, NoAnswer, Unavailable) as reason:
                if time.monotonic() > until:
                    sys.exit(f"no answer of pool {pool} after {seconds} s: {reason}")
                print(f"not yet: {reason}", flush=True)
                time.sleep(2)
            except AnyPodError as reason:
                sys.exit(f"pool {pool}: {reason}")
    if answer.outputs != 144:
        sys.exit(f"12 * 12 is not {answer.outputs}")
    print(f"a program ran on {answer.execution.worker}, through {url}")


if __name__ == "__main__":
    main(*sys.argv[1:])

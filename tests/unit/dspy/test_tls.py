"""Certificates are read once for all runs, and otherwise TLS is as DSPy's engine has it."""

import ssl

import pytest
from dspy._vendor.lm15.transports import StdlibAsyncTransport, _ssl

from anypod_worker.kinds.dspy import tls


@pytest.fixture(autouse=True)
def shared() -> None:
    tls.share()
    tls.share()


def test_every_runs_connections_have_the_same_context() -> None:
    one, other = StdlibAsyncTransport(), StdlibAsyncTransport()
    assert one._tls_half()._ctx is other._tls_half()._ctx is tls.context()


def test_it_checks_whom_it_speaks_to() -> None:
    assert tls.context().verify_mode is ssl.CERT_REQUIRED
    assert tls.context().check_hostname


def test_who_wants_other_certificates_has_a_context_of_his_own() -> None:
    assert _ssl.TLS(verify=False)._ctx is not tls.context()
    assert tls.context().verify_mode is ssl.CERT_REQUIRED

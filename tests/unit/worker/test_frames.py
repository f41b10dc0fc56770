"""Frames survive any cutting of the stream, and nothing else passes for one."""

import contextlib
import os
import signal
import socket
import threading
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anypod.wire.messages import Code, Failure, Usage
from anypod_worker import frames

ids = st.text(max_size=20)
bodies = st.binary(max_size=5000)
unfitness = st.sampled_from(get_args(frames.Unfitness))
to_supervisor = st.one_of(
    st.builds(frames.Warm, st.booleans()),
    st.builds(frames.Pong),
    st.builds(frames.NeedCode, ids),
    st.builds(frames.Chunk, ids, bodies),
    st.builds(frames.Kept, ids, bodies),
    st.builds(frames.Used, ids, st.builds(Usage, ids, st.integers(0, 2**40))),
    st.builds(
        frames.Done,
        ids,
        st.floats(0, 1e6),
        st.none() | bodies,
        st.none() | st.builds(Failure, st.text(max_size=9), st.text(max_size=99)),
        st.none() | bodies,
        st.booleans(),
        st.none() | unfitness,
    ),
    st.builds(frames.Unfit, unfitness),
    st.builds(frames.Begun, ids),
    st.builds(frames.Printed, ids, st.sampled_from(["stdout", "stderr"]), bodies),
)
to_executor = st.one_of(
    st.builds(frames.Ping),
    st.builds(frames.Credit, ids, st.integers(0, 2**40)),
    st.builds(frames.Interrupt, ids),
    st.builds(
        frames.Run,
        ids,
        ids,
        bodies,
        st.none() | st.builds(Code, ids, st.dictionaries(ids, st.text(max_size=99)), ids),
        st.booleans(),
        st.none() | ids,
        st.none() | bodies,
    ),
)


@given(st.lists(to_supervisor, max_size=8), st.lists(st.integers(1, 3000), max_size=20))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    sent: list[frames.Frame], cuts: list[int]
) -> None:
    stream = b"".join(frames.encode(frame) for frame in sent)
    reader = frames.FrameReader(1 << 20)
    received = []
    for cut in [*cuts, len(stream)]:
        piece, stream = stream[:cut], stream[cut:]
        received += [frames.decode_for_supervisor(body) for body in reader.feed(piece)]
    received += [frames.decode_for_supervisor(body) for body in reader.feed(stream)]
    assert received == sent
    assert reader.missing == 0


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_wait_for_more(data: bytes) -> None:
    reader = frames.FrameReader(1000)
    with contextlib.suppress(frames.BadFrame):
        for body in reader.feed(data):
            frames.decode_for_supervisor(body)


def test_a_frame_above_the_limit_is_refused_before_it_is_there() -> None:
    reader = frames.FrameReader(1000)
    with pytest.raises(frames.BadFrame, match="1001 bytes"):
        reader.feed((1001).to_bytes(4, "big"))


def test_each_side_refuses_what_only_the_other_says() -> None:
    with pytest.raises(frames.BadFrame):
        frames.decode_for_supervisor(frames.encode(frames.Ping())[4:])
    with pytest.raises(frames.BadFrame):
        frames.decode_for_executor(frames.encode(frames.Pong())[4:])


@given(st.lists(to_executor, min_size=1, max_size=5))
def test_the_executors_end_reads_what_was_sent(sent: list[frames.Frame]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = frames.Wire(theirs, 1 << 20)
        ours.sendall(b"".join(frames.encode(frame) for frame in sent))
        ours.shutdown(socket.SHUT_WR)
        assert [wire.receive() for _ in sent] == sent
        assert wire.receive() is None


def test_a_body_larger_than_one_read_arrives_whole() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = frames.Wire(theirs, 1 << 25)
        run = frames.Run("x", "r", os.urandom(3_000_000))
        sending = threading.Thread(target=ours.sendall, args=(frames.encode(run),))
        sending.start()
        assert wire.receive() == run
        sending.join()


def test_what_is_there_is_taken_without_waiting_and_can_be_put_back() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = frames.Wire(theirs, 1 << 20)
        assert wire.receive_now() == []
        sent: list[frames.Frame] = [frames.Ping(), frames.Credit("x", 1), frames.Interrupt("x")]
        whole = b"".join(frames.encode(frame) for frame in sent)
        ours.sendall(whole[:-1])
        found = wire.receive_now()
        assert found == sent[:2]
        ours.sendall(whole[-1:])
        wire.put_back(found[1:])
        assert wire.receive() == sent[1]
        assert wire.receive_now() == sent[2:]
        ours.close()
        assert wire.receive_now() is None


def test_an_interrupt_is_found_behind_other_frames() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = frames.Wire(theirs, 1 << 20)
        assert not wire.is_interrupted("x")
        for frame in (frames.Credit("x", 1), frames.Interrupt("y"), frames.Interrupt("x")):
            ours.sendall(frames.encode(frame))
        assert wire.is_interrupted("x")
        assert wire.receive() == frames.Credit("x", 1), "looking takes nothing away"


def test_waiting_can_be_interrupted_and_loses_nothing() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    ours, theirs = socket.socketpair()
    before = signal.signal(signal.SIGUSR2, interrupt)
    try:
        with ours, theirs:
            wire = frames.Wire(theirs, 1 << 20)
            timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2))
            timer.start()
            with pytest.raises(Interrupted):
                wire.wait()
            ours.sendall(frames.encode(frames.Credit("x", 7)))
            wire.wait()
            assert wire.receive() == frames.Credit("x", 7)
            timer.join()
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_waiting_ends_when_there_is_something_or_after_so_long() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = frames.Wire(theirs, 1 << 20)
        assert not wire.wait(0)
        assert not wire.wait(0.001)
        ours.sendall(frames.encode(frames.Ping()) * 2)
        assert wire.wait(30)
        assert wire.receive() == frames.Ping()
        assert wire.wait(0)  # what has been read already

"""What runs a program inside an executor, in its main thread: one execution at a time, or several
of one program that waits, beside each other (``beside``).

It imports the standard library, msgspec and pydantic; of ours only the wire, what programs import
(``anypod.session``, ``anypod.reporting``), and of the worker what a run that asks an LM is given,
and the keys that it must not let out. How an executor's main loop uses it:

    interrupts.install(); containment.prepare(); baseline = Baseline.capture()
    programs = Programs(limit)
    for each request:
        program = programs.get(revision) or programs.add(load(code, revision, directory))
        outcome = run(program, inputs, stream=..., emit=..., session=..., output_limit=...)
        send the outcome; then baseline.restore(), or baseline.restore_session() for a session;
        False means that this process cannot be made clean: replace it
"""

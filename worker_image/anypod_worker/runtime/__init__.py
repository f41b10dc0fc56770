"""What runs a program inside an executor: one execution at a time, in its main thread.

It imports the standard library, msgspec, pydantic, and of ours only the wire and the session.
How an executor's main loop uses it:

    interrupts.install(); containment.prepare(); baseline = Baseline.capture()
    programs = Programs(limit)
    for each request:
        program = programs.get(revision) or programs.add(load(code, revision, directory))
        outcome = run(program, inputs, stream=..., emit=..., session=..., output_limit=...)
        send the outcome; then baseline.restore(), or baseline.restore_session() for a session;
        False means that this process cannot be made clean: replace it
"""

"""Edgewright's hands on a device, pushed there as one archive (`../agent_archive.py`).

Standard library only (workers add NumPy and one inference runtime), Python 3.7 or newer, Linux.
Every command prints one JSON document; one that fails on purpose prints {"error": {kind, message}}
and exits with 3.

    facts                   what the device is, and which runtimes it has
    conditions              temperatures, frequencies, battery, load: its state now
    look [FINAL PART]...    SHA-256 of FINAL, null where there is none, and the size of PART
    adopt [SHA PART FINAL]  renames PART to FINAL if its SHA-256 is right, else deletes it
    stored BASE             what is kept there, and whose measurement runs
    start DIR [--owner O]   starts the measurement described by DIR/job.json, detached; where it
                            runs already or is finished, it is the owner's from now on
    poll DIR [--since N]    its state and its progress from line N on
    stop DIR                ends it and every process it started
    run DIR                 the measurement itself, in the foreground (what `start` starts)
    worker                  one model in one process (what `run` starts); JSON lines on both pipes

What is timed: `invoke()` alone, between two reads of `time.perf_counter_ns`. For ONNX Runtime that
is `InferenceSession.run_with_iobinding`, with the inputs already bound, which also allocates
outputs of no fixed shape (`InferenceSession.run` where they are no tensors of numbers); for TFLite
runtimes it is `Interpreter.invoke`, with the inputs already copied in and the outputs not yet
copied out. What Python adds to that is measured by `benchmarks/overhead.py`. What the clock is too
coarse to see is taken to last as long as the clock's resolution.

Files of one measurement, BASE/runs/RUN_ID: job.json (pushed), pid, progress.jsonl, outputs-N.npz,
worker-N.stderr, conductor.stderr, result.json (written whole, last). BASE/lock is held by whichever
measurement runs, so that two never overlap on one device; it says which, since when, and whose.
"""

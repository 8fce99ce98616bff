"""What the oracles run in the sandbox: JSON in, JSON out.

Its modules import little beside what they ask, for a process of its own starts with each question.
"""

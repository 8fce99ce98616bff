"""`python -m edgewright`."""

from .cli import main

main()

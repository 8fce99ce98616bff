"""A runtime of our own for devices that have no Python, an old one, or none of the wheels.

recipe.py    what goes in, by architecture and runtime
packages.py  the interpreter, the C library and NumPy, from Debian packages
wheels.py    the runtime itself, from its wheel
libraries.py which shared libraries all of it needs
build.py     recipe -> one archive
bundle.py    the archive and what is known of it
cache.py     the archives that this host keeps
install.py   brings one to a device, once
"""

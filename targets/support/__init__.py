"""One TOML file for each runtime, delegate, execution provider or compiler: what it can run."""

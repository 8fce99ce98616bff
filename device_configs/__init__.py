"""One TOML file per device; `edgewright.targets.load` reads them."""

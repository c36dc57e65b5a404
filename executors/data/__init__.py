"""Examples on disk: paths and schemas in, records out; no MLMD and no TFX types."""

"""A `lightning.LightningModule` for a model: Lightning trains it, on our data, with our checkpoints and records."""

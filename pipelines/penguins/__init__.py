"""The Palmer penguins: one pipeline, three frameworks. Each user module stands alone in its folder."""

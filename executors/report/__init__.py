"""Pages that a person looks at after a run: self-contained HTML, for a screen of any size and for print."""

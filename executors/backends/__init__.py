"""One module a framework; each is imported only when a run needs it."""

"""`python -m polytrainer.pipelines.local [penguins|digits]`: a ready pipeline, run on this machine."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polytrainer.pipelines.quiet import quieten

_BACKENDS = {"penguins": ("keras", "estimator", "torch"), "digits": ("torch",)}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a ready pipeline and prints what came of it."""
    options = _parse(argv)
    if not options.verbose:
        quieten()
    print("importing TFX (10 s)", flush=True)

    from polytrainer.pipelines import local_runner

    started = time.monotonic()
    root = options.root.resolve()
    pipeline = _pipeline(options, root)
    log = root / "run.log"
    print(f"TFX's log goes to {log}", flush=True)
    local_runner.run(pipeline, log, verbose=options.verbose)
    print(f"\n{_summary(options, root)}")
    print(f"\nall of it took {time.monotonic() - started:.0f} s; artifacts, metadata and pushed models are in {root}")


def _summary(options: argparse.Namespace, root: Path) -> str:
    """What came of it."""
    from polytrainer.pipelines import comparison, outcomes
    from polytrainer.pipelines.cli import terminal
    from polytrainer.pipelines.metadata_connection import connect

    store = connect(root / "metadata.sqlite")
    results = outcomes.outcomes(store, options.backends, options.pipeline)
    if options.pipeline == "digits":
        return "\n\n".join(filter(None, (outcomes.table(results), outcomes.reports(results))))
    found = comparison.newest(store, options.pipeline, "ModelComparator", "Pusher")
    pages = f"comparison: {outcomes.shown(found.page)}\n{outcomes.reports(results)}".rstrip()
    return f"{comparison.text(found, results, terminal.width())}\n\n{pages}"


def _pipeline(options: argparse.Namespace, root: Path) -> Any:
    """The pipeline that was asked for, its data written."""
    if options.pipeline == "digits":
        from polytrainer.pipelines.digits import data as digits
        from polytrainer.pipelines.digits.pipeline import create_pipeline as digits_pipeline

        folder = digits.write_examples(root / "data")
        digits.write_schema(folder)
        return digits_pipeline(folder, root, options.backends, options.epochs)
    from polytrainer.pipelines.penguins import data as penguins
    from polytrainer.pipelines.penguins.pipeline import create_pipeline as penguins_pipeline

    csv = penguins.write_csv(root / "data")
    unlabelled = penguins.write_unlabelled_csv(root / "unlabelled").parent if options.each else None
    return penguins_pipeline(csv.parent, root, options.backends, options.epochs, unlabelled=unlabelled)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m polytrainer.pipelines.local", description=main.__doc__)
    parser.add_argument("pipeline", nargs="?", choices=tuple(_BACKENDS), default="penguins", help="(default: penguins)")
    parser.add_argument("--root", type=Path, help="folder for all that is written (default: runs/<pipeline>)")
    parser.add_argument(
        "--backends",
        type=lambda text: tuple(dict.fromkeys(text.split(","))),
        metavar="A,B",
        help=f"which to train, of {','.join(_BACKENDS['penguins'])} (default: all that the pipeline has)",
    )
    parser.add_argument("--epochs", type=_positive, default=20, help="passes over the training split (default: 20)")
    parser.add_argument(
        "--each",
        action="store_true",
        help="penguins: not the winner alone, but each framework's model is pushed, and names penguins without species",
    )
    parser.add_argument("--verbose", action="store_true", help="show TFX's own log")
    options = parser.parse_args(argv)
    known = _BACKENDS[options.pipeline]
    options.backends = options.backends or known
    options.root = options.root or Path("runs") / options.pipeline
    if unknown := [name for name in options.backends if name not in known]:
        parser.error(f"--backends: got {', '.join(map(repr, unknown))}; known backends: {', '.join(known)}")
    return options


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a number from 1")
    return int(text)


if __name__ == "__main__":
    main()

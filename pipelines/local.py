"""`python -m polytrainer.pipelines.local`: the penguins, trained on this machine."""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

_BACKENDS = ("keras", "estimator", "torch")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the penguins pipeline and prints what came of it."""
    options = _parse(argv)
    if not options.verbose:
        _quieten()
    print("importing TFX (10 s)", flush=True)

    from polytrainer.pipelines import local_runner
    from polytrainer.pipelines.penguins import data, summary
    from polytrainer.pipelines.penguins.pipeline import create_pipeline

    started = time.monotonic()
    root = options.root.resolve()
    csv = data.write_csv(root / "data")
    pipeline = create_pipeline(csv.parent, root, options.backends, options.epochs)
    log = root / "run.log"
    print(f"TFX's log goes to {log}", flush=True)
    local_runner.run(pipeline, log, verbose=options.verbose)
    print(f"\n{summary.table(summary.outcomes(root / 'metadata.sqlite', options.backends), root)}")
    print(f"\nall of it took {time.monotonic() - started:.0f} s; artifacts, metadata and pushed models are in {root}")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m polytrainer.pipelines.local", description=main.__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/penguins"), help="folder for all that is written")
    parser.add_argument(
        "--backends",
        type=_backends,
        default=_BACKENDS,
        metavar="A,B",
        help=f"which to train, of {','.join(_BACKENDS)} (default: all)",
    )
    parser.add_argument("--epochs", type=_positive, default=20, help="passes over the training split (default: 20)")
    parser.add_argument("--verbose", action="store_true", help="show TFX's own log")
    return parser.parse_args(argv)


def _backends(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in chosen if name not in _BACKENDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"got {', '.join(map(repr, unknown))}; known backends: {', '.join(_BACKENDS)}")
    return chosen


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a number from 1")
    return int(text)


def _quieten() -> None:
    """Silences what TFX's dependencies say at import and in their native code; must come before they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("PIP_QUIET", "1")
    os.environ.setdefault("PIP_ROOT_USER_ACTION", "ignore")
    for category in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(google|apache_beam|tensorflow|tfx|torch|keras)")


if __name__ == "__main__":
    main()

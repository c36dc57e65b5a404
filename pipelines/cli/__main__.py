"""`python -m polytrainer.pipelines.cli`: the command line where its script is not on the path."""

from __future__ import annotations

import sys

from polytrainer.pipelines.cli import main

sys.exit(main())

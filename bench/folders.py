"""Where the benchmark finds and leaves things. All that is made lies in .bench/, all that stays in bench/results/."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MADE = ROOT / ".bench"
VENV = MADE / "venv" / "bin"
NATIVE = ROOT / "bench" / "native"
LEDGERS = MADE / "ledgers"
RESULTS = ROOT / "bench" / "results"

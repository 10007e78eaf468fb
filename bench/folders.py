"""The folders of the benchmark: .bench/ for everything temporary, bench/results/ for results that stay."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MADE = ROOT / ".bench"
VENV = MADE / "venv" / "bin"
NATIVE = ROOT / "bench" / "native"
LEDGERS = MADE / "ledgers"
RESULTS = ROOT / "bench" / "results"

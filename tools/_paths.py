"""Put stages/ on the module search path, so that a tool can import what the stages import.

The one module that acts when it is imported; each tool imports it first.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGES = ROOT / "stages"

sys.path.insert(0, str(STAGES))

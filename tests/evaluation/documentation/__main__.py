"""Writes the set into a folder: `python -m tests.evaluation.documentation FOLDER [--corpus standard_library]`."""

import argparse
import sys
from pathlib import Path
from typing import get_args

from tests.evaluation.documentation.beir import write_set
from tests.evaluation.documentation.document import Corpus

parser = argparse.ArgumentParser(
    prog="python -m tests.evaluation.documentation", description="Writes the set into a folder, in BEIR's layout."
)
parser.add_argument("folder", type=Path)
parser.add_argument("--corpus", choices=get_args(Corpus), help="one of the two alone; by default both are in one")
arguments = parser.parse_args()
written = write_set(arguments.folder, [arguments.corpus] if arguments.corpus else get_args(Corpus))
sys.stdout.write(f"{written}\n")

"""A script as torchrun starts it, of which a rank is killed in each of the first attempts.

Usage: killed_ranks.py FOLDER VICTIM:FILE[,VICTIM:FILE...] SCRIPT FLAGS...; the kill of an attempt
comes before the file is moved into its place.
"""

import os
import signal
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.killing import Moment, Signal, watch
from tests.processes import children
from utils.errors import run

folder, kills, script, *argv = sys.argv[1:]
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
if os.environ["RANK"] == "0" and attempt < len(kills.split(",")):
    victim, name = kills.split(",")[attempt].split(":")
    [other] = set(children(os.getppid())) - {os.getpid()}
    pid = other if victim == "1" else None
    watch(Signal(signal.SIGKILL, Path(folder), Moment("os.rename", name), pid=pid))
sys.argv = [script, *argv]
module = import_module(script.removesuffix(".py"))
run(partial(module.main, argv), module.parser)

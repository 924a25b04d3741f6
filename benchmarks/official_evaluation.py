"""Run Cityscapes' official evaluation: official_evaluation.py FOLDER OUT.json

Reads FOLDER/predictions and FOLDER/truth, and writes the IoU of every class.
"""

import json
import sys
from pathlib import Path

from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official

folder, out = map(Path, sys.argv[1:])
options = official.args
options.quiet, options.evalInstLevelScore, options.evalPixelAccuracy = True, False, False
options.JSONOutput = False
lists = [sorted(map(str, (folder / part).iterdir())) for part in ("predictions", "truth")]
result = official.evaluateImgLists(*lists, options)
out.write_text(json.dumps(result["classScores"]))

"""The official Cityscapes evaluator on FOLDER/predictions and FOLDER/truth; class IoUs to JSON."""

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

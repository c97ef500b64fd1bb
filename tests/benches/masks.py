"""What the base model's masks are worth on sampled pictures of the demo world, with the demo's segmenter as the reference.

    python3 tests/benches/masks.py PROGRAM [--subjects teapot,mug] [--work DIR] [--train "--layers 0,1,2 ..."]

For each of the eight subjects the protocol's prompts are sampled with two seeds: untrained, with the default training, and with the
demo's `[train]` (or what --train says). Each picture has the mask that the base model made (`fast`), and one by the segmenter.
Prints for each of the three: IoU of the two masks, how many are doubtful, and masked CLIP-I with either.

It takes about 15 minutes on 2 cores. The pictures stay in DIR.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "workspaces/demo"

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program", type=Path)
parser.add_argument("--subjects", default="", help="only these, with commas between them")
parser.add_argument("--work", type=Path, help="the home that is made; a temporary folder if not given")
parser.add_argument("--train", help="options of the third side's training, in place of the demo's [train]")
parser.add_argument("--seeds", type=int, default=2)
args = parser.parse_args()

protocol = tomllib.loads((ROOT / "workspaces/protocols/demo.toml").read_text())
subjects = [s["name"] for s in protocol["subject"] if not args.subjects or s["name"] in args.subjects.split(",")]
prompts = protocol["prompts"]["scenes"]
settings = tomllib.loads((DEMO / "concept.toml").read_text()).get("train", {})
option = lambda key, value: [f"--{key.replace('_', '-')}", ",".join(map(str, value)) if isinstance(value, list) else str(value)]
best = args.train.split() if args.train else [word for item in settings.items() for word in option(*item)]
SIDES = {"untrained": None, "default": [], "train": best}

work = args.work or Path(tempfile.mkdtemp(prefix="catbench-masks-"))
work.mkdir(parents=True, exist_ok=True)
program = str(args.program.resolve())
quiet = ["--sample-every", "0", "--validate-every", "0", "--checkpoint-every", "100000"]


def run(*words, json_out=True):
    command = [program, *map(str, words), *(["--json"] if json_out else [])]
    done = subprocess.run(command, env={**os.environ, "CATBENCH_HOME": str(work)}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1]) if json_out else done.stdout


def concept(subject):
    folder = work / subject
    if not folder.is_dir():
        folder.mkdir()
        for part in ("images", "masks"):
            shutil.copytree(DEMO / "subjects" / subject / part, folder / part)
        (folder / "concept.toml").write_text(
            f'name = "{subject}"\nclass_word = "{subject}"\nbase_model = "{DEMO / "base_model"}"\nscore_model = "{DEMO / "clip"}"\n'
            f'segmenter = "{DEMO / "segmenter"}"\nguidance_scale = 4.0\n')
    return folder


scores = {side: {} for side in SIDES}
for subject in subjects:
    home = concept(subject)
    (home / "prompts").mkdir(exist_ok=True)
    (home / "prompts/scenes.txt").write_text("\n".join(prompts) + "\n")
    for side, options in SIDES.items():
        which = ["--untrained"]
        if options is not None:
            which = ["--run", Path(run("train", subject, *options, *quiet)["path"]).name]
        batch = Path(run("sample", subject, "--list", "scenes", "-n", args.seeds, "--seed", 0, *which)["path"])
        pictures = sorted(batch.glob("*.png"))
        pictures = [p for p in pictures if not p.name.startswith("grid-")]
        masked = run("score", subject, "--batch", batch.name)
        known = work / "reference" / side / subject
        shutil.rmtree(known, ignore_errors=True)
        (known / "images").mkdir(parents=True)
        for picture in pictures:
            shutil.copy(picture, known / "images")
        # The base model's masks are kept while the segmenter's take their place.
        shutil.copytree(batch / "masks", batch / "masks-base_model")
        run("mask", "make", subject, "--batch", batch.name, "--masks", "segmenter", "--replace")
        shutil.copytree(batch / "masks", known / "masks")
        right = run("score", subject, "--batch", batch.name)
        scores[side][subject] = [table["rows"][0]["masked_clip_i"]["value"] for table in (masked, right)]
    print(subject, {side: scores[side][subject] for side in SIDES}, flush=True)

for side in SIDES:
    lines = json.loads(run("mask", "bench", subjects[0], work / "reference" / side, "--masks", "base_model", "--mask-quality", "fast",
                           "--format", "json", json_out=False))
    print(side, lines["rows"])
    for which, name in ((0, "base_model's masks"), (1, "the segmenter's")):
        print(f"  masked CLIP-I with {name}: {statistics.mean(pair[which] for pair in scores[side].values()):.4f}")
print(work)

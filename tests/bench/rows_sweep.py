# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweeps over layers: leave-one-out, its progressive form, the search for pins."""

import json
import statistics
import sys

from make_models import NETWORKS
from measure import DATA, PEERS, QSCOPE, ROOT, compare, interleave, qscope, run, stat
from rows_compare import files, word
from rows_forward import TITLES

sys.path.append(str(ROOT / "tests/oracle"))
from common import image_files, int8_files, metas, preprocess_words

TOP = 8
RACE_IMAGES = 32
WITHIN = 0.25  # dB


def has(command):
    """Whether this qscope knows a command."""
    listed = json.loads(run(QSCOPE, "--batch", "--no-config", "--json", "-e", "help").out)
    return any(isinstance(rows, list) and any(row.get("name") == command for row in rows)
               for rows in listed.values())


def ask(options, network, command):
    """A whole process that loads the pair and gives one command; beside it what it says."""
    fp32, int8, inputs = files(options, network)
    done = qscope(f"load pair {word(fp32)} {word(int8)}", f"dataset add {word(inputs)}", command,
                  options=["--json"])
    return done, json.loads(done.out.splitlines()[-1])


def ranking(said):
    """{layer: mean square error of the outputs} by rank, and all that a sweep says."""
    return {row["name"]: row["mse"] for row in said["layers"]}, said


def sweep(options, network, how):
    """Leave-one-out in one of its ways, on some images: a finished process and its ranking."""
    done, said = ask(options, network, f"sensitivity --ways loo --metric mse {how}")
    return done, *ranking(said)


def seconds(found):
    return [x[0].seconds for x in found]


# ---- Leave-one-out --------------------------------------------------------------------------

def lean_script(options, network, layers, images, batch):
    found = run(sys.executable, PEERS / "ort_loo.py", *files(options, network), images, batch,
                *layers)
    return found, json.loads(found.out)["mse"]


def against_lean(options, network, images, pairs):
    mse = sweep(options, network, f"--brute --images {images}")[1]
    layers = list(mse)
    batch = min((1, 8), key=lambda n: lean_script(options, network, layers[:6], images,
                                                  n)[0].seconds)
    found = interleave(pairs, qscope=lambda: sweep(options, network, f"--exact --images {images}"),
                       lean=lambda: lean_script(options, network, layers, images, batch))
    exact, lean = found["qscope"][0][1], found["lean"][0][1]
    equal = sum(exact[layer] == mse[layer] for layer in layers)
    off = max(abs(lean[layer] / mse[layer] - 1) for layer in layers)
    note = (f"{TITLES[network]}: {equal} of {len(layers)} errors equal those of brute force to "
            f"the last bit; the script's differ by at most {off:.1g} of the value.")
    if equal < len(layers) or off > 0.01:
        raise RuntimeError(f"wrong results are not timed: {note}")
    case = f"{TITLES[network]}, {len(layers)} layers, {images} images"
    return compare(case, f"one session a variant, batches of {batch}", "s",
                   seconds(found["qscope"]), seconds(found["lean"]), 2.5, faster=True), note


def against_script(options, network, images, pairs, count):
    """The script is measured on a few layers and scaled to all."""
    fp32, _, inputs = files(options, network)
    layers = [layer for layer in sweep(options, network, "--exact --images 1")[1]
              if layer.startswith(("conv", "fc"))]
    some = layers[::len(layers) // count][:count]

    def script():
        found = run(sys.executable, PEERS / "ort_quantize_loo.py", fp32, inputs, images, *some)
        return statistics.mean(json.loads(found.out)["seconds"]) * len(layers)

    found = interleave(pairs, qscope=lambda: sweep(options, network, f"--exact --images {images}"),
                       script=script)
    return compare(f"{TITLES[network]}, {images} images",
                   f"quantize_static for each layer, {len(some)} of {len(layers)} measured", "s",
                   seconds(found["qscope"]), found["script"], 40, faster=True)


def leave_one_out(options):
    if not has("sensitivity"):
        return None
    lines, notes, pairs = [], [], 1 if options.quick else 5
    for network in NETWORKS:
        line, note = against_lean(options, network, 8 if options.quick else 32, pairs)
        lines += [line, against_script(options, network, 8, pairs, 1 if options.quick else 3)]
        notes.append(note)
    return {"title": "Exact leave-one-out over all layers",
            "text": ["Whole processes: each layer alone in float, the error of the outputs.",
                     "The peers are the leanest script on onnxruntime, one session of the QDQ "
                     "model for each layer with that layer in float, outputs alone; and the "
                     "script that users write, `quantize_static` again without each layer."],
            "lines": lines, "notes": notes}


# ---- Progressive ----------------------------------------------------------------------------

def race(ask_how, pairs, images):
    """Races, to the end and within a difference, and brute force by turns: processes, and what
    each says of all layers."""
    how = {"qscope": f"--top {TOP}", "within": f"--top {TOP} --within {WITHIN}", "brute": "--brute"}
    found = {who: [] for who in how}
    for _ in range(pairs):
        for who, words in how.items():
            done, said = ask_how(f"sensitivity --ways loo {words} --images {images}")
            found[who].append((done, {row["name"]: row["loo_gain"] for row in said["layers"]}, said))
    return found


def race_line(case, found, who="qscope", target=None):
    """By wall time; also by CPU time, which others on the machine disturb less."""
    line = compare(case, "brute force", "s", seconds(found[who]), seconds(found["brute"]),
                   target, faster=True)
    line["cpu"] = stat([brute[0].cpu / ours[0].cpu for ours, brute
                        in zip(found[who], found["brute"], strict=True)])
    return line


def firsts(found, who="qscope"):
    """The first places of race and brute force, and how many of these the race has as well."""
    first, whole = (list(found[x][0][1])[:TOP] for x in (who, "brute"))
    return first, whole, len(set(first) & set(whole))


def short(found):
    """How much worse the worst of the first places of the race within a difference is than the
    last of brute force, by the gains of that: dB."""
    gain = found["brute"][0][1]
    first, whole, _ = firsts(found, "within")
    return max(0, gain[whole[-1]] - min(gain[layer] for layer in first))


def seen(found):
    """Images that the last ones of that race have seen."""
    return found["within"][0][2]["layers"][0]["images"]


def real_pairs():
    """(name, lines that load the pair and its images, their number) of trained models, as the
    collection says to feed them."""
    for folder, meta in metas():
        pictures = image_files(DATA / "images" / meta["images"])
        # Spread over the set: neighbours are of one class.
        pictures = pictures[::max(1, len(pictures) // RACE_IMAGES)][:RACE_IMAGES]
        for int8 in int8_files(folder):
            lines = [f"load pair {word(folder / 'fp32.onnx')} {word(int8)}",
                     "dataset add " + " ".join(map(word, pictures)),
                     preprocess_words(meta["preprocess_onnx"])]
            yield f"{folder.name} {int8.stem.removeprefix('int8_')}", lines, len(pictures)


def real_races(options):
    """A line for each pair that has twice as many layers as there are places; a note on all."""
    lines, same, others, near, off = [], 0, [], [], []
    for name, setup, images in real_pairs():
        def ask_how(command, setup=setup):
            done = qscope(*setup, command, options=["--json"])
            return done, json.loads(done.out.splitlines()[-1])

        layers = len(ask_how("sensitivity --ways loo --exact --images 1")[1]["layers"])
        if layers < 2 * TOP or (options.quick and lines):
            continue
        found = race(ask_how, 1 if options.quick else 3, images)
        lines.append(race_line(f"{name}, {layers} layers, {images} images", found))
        near.append(race_line("", found, "within")["ratio"]["median"])
        off.append(short(found))
        first, whole, count = firsts(found)
        same += first == whole
        if first != whole:
            others.append(f"{name} {count} ({found['qscope'][0][2]['missed']:.2g} layers were "
                          "expected to be missing)")
    ratios = [line["ratio"]["median"] for line in lines]
    return lines, [
        f"Trained pairs: geometric mean {statistics.geometric_mean(ratios):.2f}x less, from "
        f"{min(ratios):.2f}x to {max(ratios):.2f}x. The first {TOP} layers are those of brute "
        f"force in the same order in {same} of {len(lines)}" +
        (f"; of the first {TOP} the others have: " + ", ".join(others) if others else "") + ".",
        f"Within {WITHIN} dB: geometric mean {statistics.geometric_mean(near):.2f}x less, from "
        f"{min(near):.2f}x to {max(near):.2f}x; in {sum(x <= WITHIN for x in off)} of {len(off)} "
        f"the worst of the first {TOP} is at most so much below the last of brute force, at "
        f"most {max(off):.2f} dB."
    ] if lines else []


def progressive(options):
    if not has("sensitivity"):
        return None
    lines, notes, images = [], [], 8 if options.quick else RACE_IMAGES
    for network in NETWORKS:
        found = race(lambda command, network=network: ask(options, network, command),
                     1 if options.quick else 5, images)
        case = f"{TITLES[network]}, {images} images"
        lines += [race_line(case, found, target=7),
                  race_line(f"{case}, within {WITHIN} dB", found, "within", 7)]
        first, whole, count = firsts(found)
        order = " in the same order" if first == whole else ""
        said, brute = found["qscope"][0][2], found["brute"][0][2]
        notes.append(f"{TITLES[network]}: {count} of the first {TOP} "
                     f"layers are those of brute force{order}, after {said['runs']} runs, most of "
                     f"them parts, instead of {brute['runs']} whole ones; {said['missed']:.2g} "
                     f"layers were expected to be missing. Within {WITHIN} dB, after "
                     f"{seen(found)} images, the worst of the first {TOP} is {short(found):.2f} dB "
                     "below the last of brute force.")
    more_lines, more_notes = real_races(options)
    return {"title": f"First {TOP} of the ranking",
            "text": ["The race, a whole process, against qscope itself without any "
                     "reuse: each layer in float alone, all images from the first layer to the "
                     "last. It ends when the first are exact, or with `--within` when no other is "
                     "so much better than the last of them.",
                     "The two networks have random weights, so most of their layers differ by "
                     "less than chance; below them stand trained models, which are not part of "
                     "this project, on real pictures."],
            "lines": lines + more_lines, "notes": notes + more_notes}


# ---- Search for pins ------------------------------------------------------------------------

def nncf(options, network, images, *max_drop):
    """NNCF in an environment of its own, which is made on the first use."""
    folder = ROOT / "build/bench/nncf"
    run("sh", "-c", '. tests/venv.sh && venv_make "$1" tests/bench/nncf-requirements.txt', "sh",
        folder, cwd=ROOT)
    fp32, _, inputs = files(options, network)
    found = run(folder / "bin/python", PEERS / "nncf_search.py", fp32, inputs, images, *max_drop)
    return json.loads(found.out.splitlines()[-1])


def search_one(options, network, images, pairs):
    """Half the drop of the better of the two INT8 models is to be reached."""
    evaluated = ask(options, network, f"run --limit {images} ; evaluate --metric cosine")[1]
    start = {"qscope": 1 - evaluated["int8"], "NNCF": nncf(options, network, images)["start"]}
    drop = float(f"{min(start.values()) / 2:.1e}")
    command = f"search --max-drop {drop} --metric cosine --images {images}"
    found = interleave(pairs, qscope=lambda: ask(options, network, command),
                       peer=lambda: nncf(options, network, images, drop))
    ours, theirs = found["qscope"][0][1], found["peer"][0]
    reached = 1 - ours["reached"]
    note = (f"{TITLES[network]}: cosine of the outputs at most {drop:g} below 1, from "
            f"{start['qscope']:.2g} in qscope and {start['NNCF']:.2g} in NNCF; qscope reaches "
            f"{reached:.2g} with {len(ours['pins'])} layers in float, NNCF reverts "
            f"{theirs['reverted']} operations after {theirs['runs']} runs.")
    return compare(f"{TITLES[network]}, {images} images", "NNCF accuracy control", "s",
                   seconds(found["qscope"]), [x["seconds"] for x in found["peer"]], 20,
                   faster=True), note


def search(options, network):
    """One network at a time: NNCF takes minutes for each of its runs."""
    if not has("search"):
        return None
    line, note = search_one(options, network, 2 if options.quick else 8,
                            1 if options.quick else 5)
    return {"title": f"Search for few layers in float: {TITLES[network]}",
            "text": ["The same FP32 model, images, metric and drop; each tool starts from the "
                     "INT8 model that is its own.",
                     "qscope is a whole process, NNCF is timed from quantization to its last run."],
            "lines": [line], "notes": [note]}

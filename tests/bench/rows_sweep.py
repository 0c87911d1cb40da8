# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweeps over layers: leave-one-out, its progressive form, the search for pins."""

import json
import sys
from pathlib import Path

from make_models import NETWORKS
from measure import BUILD, PEERS, QSCOPE, ROOT, compare, interleave, qscope, run
from rows_compare import files, word
from rows_forward import TITLES

LOO_FASTER, SCRIPT_FASTER, PROGRESSIVE_FASTER, SEARCH_FASTER = 2.5, 40, 7, 20
TOP = 8


def has(command):
    """Whether this qscope knows a command."""
    listed = json.loads(run(QSCOPE, "--batch", "--no-config", "--json", "-e", "help").out)
    return command in (row["name"] for rows in listed.values() if isinstance(rows, list)
                       for row in rows)


def opening(options, network):
    fp32, int8, inputs = files(options, network)
    return f"load pair {word(fp32)} {word(int8)}", f"dataset add {word(inputs)}"


def brute(options, network, images):
    """The same question without any reuse; {layer: mean square error} and seconds."""
    found = json.loads(run(BUILD / "tests/bench/brute", *files(options, network), images, 2).out)
    return found["mse"], found["seconds"]


def sweep(options, network, images, *how):
    """A whole process that sweeps; {layer: mean square error of the output} beside it."""
    done = qscope(*opening(options, network), f"sweep loo {' '.join(how)} --images {images}",
                  options=["--json"])
    rows = json.loads(done.out.splitlines()[-1])["layers"]
    return done, {row["name"]: row["mse"] for row in rows}


def best(errors, count=TOP):
    """The layers whose pin helps most."""
    return sorted(errors, key=errors.get)[:count]


# ---- Leave-one-out --------------------------------------------------------------------------

def lean_script(options, network, layers, images, batch):
    found = run(sys.executable, PEERS / "ort_loo.py", *files(options, network), images, batch,
                *layers)
    return found, json.loads(found.out)["mse"]


def faster_batch(options, network, layers, images):
    """Of one image a run and eight, what makes the script faster."""
    return min((1, 8), key=lambda batch: lean_script(options, network, layers[:6], images,
                                                     batch)[0].seconds)


def against_lean(options, network, images, pairs):
    mse, _ = brute(options, network, images)
    layers = list(mse)
    batch = faster_batch(options, network, layers, images)
    found = interleave(pairs, qscope=lambda: sweep(options, network, images, "--exact"),
                       lean=lambda: lean_script(options, network, layers, images, batch))
    ours, theirs = ([x[0].seconds for x in found[who]] for who in ("qscope", "lean"))
    exact, lean = found["qscope"][0][1], found["lean"][0][1]
    equal = sum(exact.get(layer) == mse[layer] for layer in layers)
    off = max(abs(lean[layer] / mse[layer] - 1) for layer in layers)
    note = (f"{TITLES[network]}: {equal} of {len(layers)} results of the sweep equal those of "
            f"qscope's brute force to the last bit; the script's differ by at most {off:.1g} of "
            f"the value.")
    case = f"{TITLES[network]}, {len(layers)} layers, {images} images"
    return compare(case, f"one session a variant, batches of {batch}", "s", ours, theirs,
                   LOO_FASTER, faster=True), note


def against_script(options, network, images, pairs, count):
    """The script is measured on a few layers and scaled to all."""
    fp32, _, inputs = files(options, network)
    layers = [layer for layer in sweep(options, network, 1, "--exact")[1]
              if layer.startswith(("conv", "fc"))]
    some = layers[::max(1, len(layers) // count)][:count]

    def script():
        found = run(sys.executable, PEERS / "ort_quantize_loo.py", fp32, inputs, images, *some)
        seconds = json.loads(found.out)["seconds"]
        return sum(seconds) / len(seconds) * len(layers)

    found = interleave(pairs, qscope=lambda: sweep(options, network, images, "--exact")[0].seconds,
                       script=script)
    case = f"{TITLES[network]}, {images} images"
    return compare(case, f"quantize_static a layer, {len(some)} of {len(layers)} measured", "s",
                   found["qscope"], found["script"], SCRIPT_FASTER, faster=True)


def leave_one_out(options):
    if not has("sweep loo"):
        return None
    lines, notes = [], []
    for network in NETWORKS:
        line, note = against_lean(options, network, 8 if options.quick else 32,
                                  1 if options.quick else 5)
        lines.append(line)
        notes.append(note)
        lines.append(against_script(options, network, 8, 1 if options.quick else 5,
                                    1 if options.quick else 3))
    return {"title": "Exact leave-one-out over all layers",
            "text": ["Whole processes: every layer alone in float, the error of the final output.",
                     "The peers are the leanest script on onnxruntime, one session of the QDQ "
                     "model for each layer with that layer in float and the final output alone, "
                     "and the script users write, `quantize_static` anew without each layer."],
            "lines": lines, "notes": notes}


# ---- Progressive ----------------------------------------------------------------------------

def progressive(options):
    if not has("sweep loo"):
        return None
    lines, notes, images = [], [], 8 if options.quick else 32
    for network in NETWORKS:
        found = interleave(1 if options.quick else 5,
                           qscope=lambda: sweep(options, network, images, "--progressive",
                                                f"--top {TOP}"),
                           brute=lambda: brute(options, network, images))
        first, whole = best(found["qscope"][0][1]), best(found["brute"][0][0])
        lines.append(compare(f"{TITLES[network]}, {images} images", "brute force", "s",
                             [x[0].seconds for x in found["qscope"]],
                             [x[1] for x in found["brute"]], PROGRESSIVE_FASTER, faster=True))
        notes.append(f"{TITLES[network]}: {len(set(first) & set(whole))} of the first {TOP} "
                     f"layers are those of brute force"
                     f"{', in the same order' if first == whole else ''}.")
    return {"title": f"First trustworthy top {TOP} of the ranking",
            "text": ["The progressive sweep, a whole process, against qscope itself without any "
                     "reuse: each layer pinned alone, all images from the first layer to the last."],
            "lines": lines, "notes": notes}


# ---- Search for pins ------------------------------------------------------------------------

def nncf_python():
    """The environment of NNCF, made on the first use."""
    folder = ROOT / "build/bench/nncf"
    run("sh", "-c", '. tests/venv.sh && venv_make "$1" tests/bench/nncf-requirements.txt', "sh",
        folder, cwd=ROOT)
    return folder / "bin/python"


def search(options):
    if not has("search"):
        return None
    python = nncf_python()
    lines, notes, images = [], [], 8
    for network in NETWORKS[1:] if options.quick else NETWORKS:
        fp32, _, inputs = files(options, network)
        peer = json.loads(run(python, PEERS / "nncf_search.py", fp32, inputs, images).out)
        command = f"search --max-drop {peer['max_drop']} --metric cosine --images {images}"
        ours = [qscope(*opening(options, network), command, options=["--json"])
                for _ in range(1 if options.quick else 5)]
        said = json.loads(ours[0].out.splitlines()[-1])
        lines.append(compare(TITLES[network], "NNCF accuracy control", "s",
                             [x.seconds for x in ours], [peer["seconds"]] * len(ours),
                             SEARCH_FASTER, faster=True))
        notes.append(f"{TITLES[network]}: drop of the cosine at most {peer['max_drop']:g}; qscope "
                     f"pins {said['pins']} layers, NNCF reverts {peer['reverted']} in "
                     f"{peer['runs']} runs.")
    return {"title": "Search for the smallest set of layers in float",
            "text": ["The same FP32 model, images, metric and permitted drop; each tool starts "
                     "from its own INT8 model."],
            "lines": lines, "notes": notes}

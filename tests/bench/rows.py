# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmarks by name. Each function measures and gives a title, what was compared, lines of
a table and notes; None: what it needs is not there."""

import latency
import rows_compare
import rows_forward
import rows_quantize
import rows_sweep

ROWS = {
    "forward-int8": rows_forward.int8,
    "forward-fp32": rows_forward.fp32,
    "compare": rows_compare.whole,
    "start": rows_compare.start,
    "long": rows_compare.long,
    "loo": rows_sweep.leave_one_out,
    "progressive": rows_sweep.progressive,
    "search-mobilenetv2": lambda options: rows_sweep.search(options, "mobilenetv2"),
    "search-resnet50": lambda options: rows_sweep.search(options, "resnet50"),
    "quantize": rows_quantize.quantize,
    "models": rows_forward.models,
    "latency": latency.latency,
}

# Answers that are one thing are one row of CSV and one line of JSON, whatever lists they have.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 6
run --csv
run --jsonl
info --csv
info int8 --csv
check samples/models/fp32.onnx --csv
image bar_0.png --csv
layer /stem/Conv --csv
search --reach 20 --csv
show jobs --csv
flips --jsonl

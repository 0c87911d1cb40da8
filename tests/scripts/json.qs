# args: --json
# One object a line for every listing, and nothing else.
load pair samples/models/fp32.onnx samples/models/int8_qop.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 6
pin /block1/pw/Conv
run
layers --sort sqnr --top 2
images --sort sqnr --top 2
pins
evaluate

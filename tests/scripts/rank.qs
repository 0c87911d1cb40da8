# Layers ranked by several metrics, in network order, and by what is left out.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
layers
layers --sort cosine --top 3
layers --sort sqnr:desc --top 3
layers --sort none --top 3
layers --sort saturation_high --top 3

# Precisions in the list of pins, the ranking and the graph.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
pin /block3/dw/Conv
pin /block4/dw/Conv --as fp16
run
pin /head/Gemm --as int16
screen pins --size 80x24
screen layers --size 100x12
screen graph --size 100x24

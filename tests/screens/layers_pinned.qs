# Pinned and not run again: the figures are still those of INT8.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
pin /block4/dw/Conv /block3/dw/Conv
screen layers --size 100x30

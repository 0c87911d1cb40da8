# One layer: histogram, channels.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
open /block4/dw/Conv
capture
screen layer --size 80x24

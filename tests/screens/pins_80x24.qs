# Pins and their history.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
pin /block4/dw/Conv
pin /block3/dw/Conv
undo
screen pins --size 80x24

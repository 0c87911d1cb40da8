# Pins: what is pinned, what is in effect, and back.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
pins
pin /block4/dw/Conv
pin /block3/dw/Conv
pins
undo
pins
redo
run
pins
unpin /block4/dw/Conv
pins
undo 3
pins

# Pins: what is pinned, what is in effect, and back.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24
pins
pin /block2/dw/Relu
pin /block2/pw/Clip
pins
undo
pins
redo
run
pins
unpin /block2/dw/Relu
pins
undo 9
pins

# open.qs: what samples/demo.sh opens the screen with. Run from the project's root.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images
run

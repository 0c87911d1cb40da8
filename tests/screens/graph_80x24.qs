# Both models as one graph, with two pins and the conversions that they add.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 24 --seed 3
run
pin /block4/dw/Conv /block3/dw/Conv
screen graph --size 80x24

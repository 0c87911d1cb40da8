# stderr
# What is usually wrong when all numbers are: models in each other's place, images on another scale.
load pair samples/models/int8_qdq.onnx samples/models/fp32.onnx
load pair samples/models/fp32.onnx samples/models/fp32.onnx
load pair samples/models/int8_qdq.onnx samples/models/int8_qop.onnx
load pair samples/models/fp32.onnx samples/models/int8_qop.onnx
dataset add samples/images --limit 2
preprocess range=0..255 mean=0 std=1
run
preprocess range=0..1 mean=0.5 std=10
run
preprocess samples/preprocess.json
run

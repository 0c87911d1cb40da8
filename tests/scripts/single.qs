# One model alone: run it, write its activations; the other one beside it makes a pair.
load fp32 samples/models/fp32.onnx
info
preprocess samples/preprocess.json
dataset add samples/images/ring_0.png
dump /head/Gemm /head/Softmax --out ${OUT}/dump
load int8 samples/models/int8_qdq.onnx
run
layers --top 2
pin /block4/dw/Conv

# Another INT8 variant takes its place; images and preprocessing stay, pins and results go.
load int8 samples/models/int8_qop.onnx
pins
run
layers --top 2
load fp32 samples/models/fp32.onnx
info int8

# Without the other one first, it is one model alone.
unload
load int8 samples/models/int8_qdq.onnx
info

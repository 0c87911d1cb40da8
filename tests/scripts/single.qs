# One model alone: run it, write its activations.
load fp32 samples/models/fp32.onnx
info
preprocess samples/preprocess.json
dataset add samples/images/ring_0.png
dump /head/Gemm /head/Softmax --out ${OUT}/dump
load int8 samples/models/int8_qdq.onnx

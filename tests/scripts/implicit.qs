# exit: 5
# stderr
# An FP32 model and a TensorRT calibration cache: largest magnitude / 127 over the sample images.
load pair samples/models/fp32.onnx samples/models/fp32.onnx --cache tests/scripts/implicit.cache
preprocess samples/preprocess.json
dataset add samples/images
run
layers --top 3
fused /block3/Add /head/Gemm
info /stem/Conv
pin /block4/dw/Clip
run
export ${OUT}/mixed.onnx
set numerics ort
run
unload ; load int8 samples/models/fp32.onnx --cache tests/scripts/implicit.cache
set output json
load int8 samples/models/fp32.onnx --cache tests/scripts/implicit.cache
set output table
set on_error continue
load int8 samples/models/int8_qdq.onnx --cache tests/scripts/implicit.cache
load int8 samples/models/fp32.onnx --cache samples/preprocess.json
load int8 samples/models/fp32.onnx --cache tests/scripts/none.cache
show numerics

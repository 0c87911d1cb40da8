# exit: 5
# stderr
# Whose arithmetic is computed, and what says so.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images
show numerics
set numerics onnx ; run ; layers --top 2
set numerics u8s8-saturate ; run ; layers --top 2
info
accumulators /block3/pw/Conv
fused /stem/Conv
set output json
run --limit 1
info
set output table
set on_error continue
set numerics tensorrt
set numerics ruy
show numerics
unload ; load int8 samples/models/int8_qop.onnx
set numerics onnx
fused
set numerics tensorrt

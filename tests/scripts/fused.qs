# exit: 5
# stderr
# What the runtime executes, what a tool that exposes a tensor would see, and integer sums.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 2
fused
fused /block2/pw/Conv /head/Gemm
layer /block2/pw/Conv --image bar_0.png
layer /stem/Conv --image bar_0.png
observer /block2/pw/Conv
observer /head/Gemm --image bar_0.png
observer
accumulators /stem/Conv
accumulators /head/Gemm --channels
set on_error continue
accumulators /block2/pw/Conv
accumulators /block*
set numerics ort-unfused
fused
set output json
set numerics ort
fused /stem/Conv
observer /head/Gemm
accumulators /head/Gemm

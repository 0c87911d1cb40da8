# From FP32 alone to INT8 and on: calibration, a mixed model, another range for a layer.
load fp32 samples/models/fp32.onnx
preprocess samples/preprocess.json
calibrate --images samples/images --limit 8 --method percentile --percentile 99.9
quantize ${OUT}/int8.onnx --images samples/images --limit 8 --per-channel
dataset add samples/images --limit 24
run
layers --sort none
-quantize ${OUT}/int8.onnx
quantize ${OUT}/int8.onnx --limit 8 --format qop --keep /block4/dw/Conv --s4 /block1/pw/Conv --force
run
info /block4/dw/Conv
undo
run
redo
run
whatif /block3/Add
whatif /block3/Add --method mse --apply
run
history
export ${OUT}/changed.onnx
undo
run
-whatif /block3/Add --codes s16 --method mse --apply
-whatif /block3/Add --apply
# The best of all methods for the outputs, and entropy, which stands against the whole ranges.
quantize ${OUT}/best.onnx --images samples/images --limit 24 --method best
quantize ${OUT}/entropy.onnx --images samples/images --limit 24 --method entropy
-calibrate --percentile 0

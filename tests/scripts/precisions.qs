# exit: 6
# stderr
# Pins in fewer bits than FP32: what there is, what changes, what keeps them, and where it ends.
precisions
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 8 --seed 3
pin /block4/dw/Conv /block3/dw/Conv --as fp16
pin /block4/dw/Conv --as fp16
pin /block4/dw/Conv --as int16
pin /head/Gemm
pin /stem/Conv --as bf16
pins
run
layers --top 3
layers --where 'precision=="int16"'
layer /block4/dw/Conv
evaluate
undo 2
pins
redo 2
history
export ${OUT}/precisions.onnx --force
export-pins ${OUT}/precisions.json
pins clear
pins load ${OUT}/precisions.json
pins
export-pins ${OUT}/precisions.txt --as trt

# A pinned model on disk, read back; lists for other tools.
load pair samples/models/fp32.onnx samples/models/int8_qop.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 6
pin /block4/dw/Conv /block3/dw/Conv
run
export ${OUT}/mixed.onnx
export-pins ${OUT}/pins.json --as ort
export-pins ${OUT}/own.json --as json
load pair samples/models/fp32.onnx ${OUT}/mixed.onnx
run
layers --sort none

# stderr
# What exists is not written over unasked, and a loaded model by nothing.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 2
run
export ${OUT}/own.onnx
-export ${OUT}/own.onnx
-quantize ${OUT}/own.onnx
-quantize ${OUT}/none.onnx --ops 'Conv|Nosuch'
-report ${OUT}/own.onnx --format md
-plot profile ${OUT}/own.onnx
-record start ${OUT}/own.onnx
load int8 ${OUT}/own.onnx
-export ${OUT}/own.onnx
-pins save ${OUT}/own.onnx
-export-pins ${OUT}/own.onnx --as ort
-session save ${OUT}/own.onnx
-graph --dot ${OUT}/own.onnx
-output ${OUT}/own.onnx
run
pin /stem/Conv
pins save ${OUT}/pins.json
pins save ${OUT}/pins.json --json
graph --dot ${OUT}/g.dot --json
jump b4dw --json
-undo 3
undo
-undo

# Layers by pattern, rank, expression and mark.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 6
run
layers --where 'sqnr<20 && op=="Conv"'
pin @1
pin '/block3/*'
pins
layers --where pinned
mark @2
pin @marked
unpin @pinned
pins

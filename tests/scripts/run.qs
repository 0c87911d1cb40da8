# Running all, some, one; marked ones; with other threads and the same result.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 12
run --limit 4
layers --top 2
run ring_0.png
layers --top 2
mark --images ring_0.png disc_0.png
run @marked
unmark --images --all
images
run --all --jobs 1
layers --top 2
run --all --jobs 2
layers --top 2
jobs
wait
cancel
evaluate --limit 4

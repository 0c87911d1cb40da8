# Running all, some, one; marked ones; with other threads and the same result.
load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx
preprocess samples/preprocess.json
dataset add samples/images --limit 12 --seed 5
-jobs
run --limit 4
layers --top 2
run bar_3.png
layers --top 2
mark --images bar_3.png cross_3.png
run @marked
unmark --images --all
images
run --all --jobs 1
layers --top 2
run --all --jobs 2
layers --top 2
wait
-cancel
evaluate --limit 4
